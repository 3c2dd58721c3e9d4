"""The training loss as a module around the model, for DDP and FSDP: one forward call per chunk.

Cross-entropy over tokens or binary cross-entropy over bits. The loss is a sum, because only the
training loop knows the number of answers in the whole batch (over all chunks and processes).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramgru.lab.tasks.base import IGNORE
from ramgru.open_gates import openings
from ramgru.sequence import SequenceModel


class Objective(nn.Module):
    """Shapes as in `ramgru.lab.train.data.Chunk`: B sequences, T steps, L labelled positions."""

    def __init__(self, model: SequenceModel) -> None:
        super().__init__()
        self.model = model

    def forward(
        self,
        inputs: Tensor,
        where: Tensor,
        answers: Tensor,
        lengths: Tensor | None = None,
        state: Any = None,
        carry: bool = True,
        write_price: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Any]:
        """-> the summed loss (), the predicted answers (L,) or (L, F) int64, the state afterwards.

        carry: True if the state is used afterwards (see `SequenceModel.hidden`)
        write_price: () auxiliary loss per step on fully open update gates (`ramgru.write_cost`),
            which is added to the gradient but not to the value of the loss
        """
        hidden, state = self.model.hidden(inputs, state, lengths=lengths, carry=carry)
        # Only labelled positions pass the head, which dominates the cost with a large vocabulary.
        logits = self.model.head(hidden.flatten(0, 1).index_select(0, where)).float()
        if answers.ndim == 1:
            loss = F.cross_entropy(logits, answers, reduction="sum")
            predicted = logits.detach().argmax(-1)
        else:
            asked = answers != IGNORE
            bits = (answers * asked).float()
            each = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
            loss, predicted = torch.sum(each * asked), (logits.detach() > 0).long()
        if write_price is not None and (opened := openings(self.model)):
            cost = write_price * torch.stack([opening for opening, _ in opened]).mean()
            loss = loss + (cost - cost.detach())
        return loss, predicted, state
