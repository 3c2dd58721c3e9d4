"""The loss as a module around the model, so that one forward call holds all that training needs.

Cross-entropy over tokens, or binary cross-entropy over bits; summed, since only the loop knows the
number of answers in the whole batch (over all chunks and processes).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ramgru.lab.tasks.base import IGNORE
from ramgru.layer import RAMGRU
from ramgru.memory import RandomAccessMemory
from ramgru.ragged import padding_mask
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
        """-> the summed loss (), the most likely answers (L,) or (L, F) int64, the state after.

        carry: whether the stream goes on from that state (`SequenceModel.hidden`).
        write_price: () what a step with all update gates open adds to the gradient of the loss,
            though not to its value. While a memory is nearly empty nothing else tells a gate not to
            write what nobody will ask for.
        """
        with self._watched(lengths, watch=write_price is not None) as openings:
            hidden, state = self.model.hidden(inputs, state, lengths=lengths, carry=carry)
        # Only labelled positions pass the head: with a large vocabulary it is most of the work.
        logits = self.model.head(hidden.flatten(0, 1).index_select(0, where)).float()
        if answers.ndim == 1:
            loss = F.cross_entropy(logits, answers, reduction="sum")
            return _charged(loss, openings, write_price), logits.detach().argmax(-1), state
        asked = answers != IGNORE
        bits = (answers * asked).float()
        each = F.binary_cross_entropy_with_logits(logits, bits, reduction="none")
        loss = _charged(torch.sum(each * asked), openings, write_price)
        return loss, (logits.detach() > 0).long(), state

    @contextmanager
    def _watched(self, lengths: Tensor | None, watch: bool) -> Iterator[list[Tensor]]:
        """Collects of each memory how far its update gates are open, summed over all steps."""
        openings: list[Tensor] = []

        def note(
            memory: RandomAccessMemory, module: nn.Module, inputs: Any, logits: Tensor
        ) -> None:
            # Tape heads write the same cells again and again: what they write fills nothing.
            keys = logits.shape[-1] // memory.num_heads * memory.address.num_heads
            opening = memory.openings(logits[..., :keys].float()).mean(-1)  # (B, T)
            if lengths is not None:
                opening = opening * ~padding_mask(lengths, opening.shape[1])
            openings.append(opening.sum())

        layers = (
            [layer for layer in self.model.layers if isinstance(layer, RAMGRU)] if watch else []
        )
        watched = [memory for layer in layers for memory in layer.memories]
        hooks = [m.update_gate.register_forward_hook(partial(note, m)) for m in watched]
        try:
            yield openings
        finally:
            for hook in hooks:
                hook.remove()


def _charged(loss: Tensor, openings: list[Tensor], price: Tensor | None) -> Tensor:
    """The same loss, with the gradient of what the openings cost."""
    if price is None or not openings:
        return loss
    cost = price * torch.stack(openings).mean()
    return loss + (cost - cost.detach())
