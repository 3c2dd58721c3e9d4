"""The loss as a module around the model, so that one forward call holds all that training needs.

Cross-entropy over tokens, or binary cross-entropy over bits; summed, since only the loop knows the
number of answers in the whole batch (over all chunks and processes).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramgru.models import SequenceModel
from ramgru.tasks.base import IGNORE


class Objective(nn.Module):
    """Shapes as in `ramgru.train.data.Chunk`: B sequences, T steps, L labelled positions."""

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
    ) -> tuple[Tensor, Tensor, Any]:
        """-> the summed loss (), the most likely answers (L,) or (L, F) int64, the state after.

        carry: whether the stream goes on from that state (`SequenceModel.hidden`).
        """
        hidden, state = self.model.hidden(inputs, state, lengths=lengths, carry=carry)  # (B, T, C)
        # Only labelled positions pass the head: with a large vocabulary it is most of the work.
        logits = self.model.head(hidden.flatten(0, 1).index_select(0, where)).float()
        if answers.ndim == 1:
            loss = F.cross_entropy(logits, answers, reduction="sum")
            return loss, logits.detach().argmax(-1), state
        asked = answers != IGNORE
        bits = (answers * asked).float()
        each = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
        return torch.sum(each * asked), (logits.detach() > 0).long(), state
