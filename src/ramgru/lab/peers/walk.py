"""A batch walked step by step, for layers whose next step needs what the one before it gave.

B sequences, T steps. Resets and lengths cut the batch into pieces (`ramgru.ragged.pieces`): these
are walked side by side, the longest first, and one that has ended takes no further part. So padding
is never looked at, and a step costs what it would cost without resets.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from ramgru.keys import without_autocast
from ramgru.ragged import pieces

# What a step is given (rows, G) and the state before it, tensors of as many rows
# -> what it puts out (rows, Y), and the state after it.
Step = Callable[[Tensor, Sequence[Tensor]], tuple[Tensor, Sequence[Tensor]]]


class Walk:
    """The way through one batch. What is packed has S rows, one for each step that is taken."""

    def __init__(
        self, batch: int, steps: int, lengths: Tensor | None, reset: Tensor | None
    ) -> None:
        self.batch, self.steps = batch, steps
        plain = lengths is None and reset is None
        self.cut = None if plain else pieces(batch, steps, lengths, reset)

    def pack(self, x: Tensor) -> Tensor:
        """(B, T, C) -> (S, C), in the order in which the steps are taken."""
        if self.cut is None:
            return x.transpose(0, 1).flatten(0, 1)
        return x.flatten(0, 1)[self.cut.source]

    def unpack(self, y: Tensor) -> Tensor:
        """(S, C) -> (B, T, C), zeros at the padding."""
        if self.cut is None:
            return y.unflatten(0, (self.steps, self.batch)).transpose(0, 1)
        flat = y.new_zeros(self.batch * self.steps, y.shape[1]).index_copy(0, self.cut.source, y)
        return flat.view(self.batch, self.steps, y.shape[1])

    def run(
        self,
        step: Step,
        given: Tensor,  # (S, G), packed
        state: Sequence[Tensor],  # of B rows, before the first step
        fresh: Callable[[int], Sequence[Tensor]],  # so many rows of a state that begins
        size: int,  # Y, the width of what a step puts out
    ) -> tuple[Tensor, list[Tensor]]:
        """-> what all steps put out (S, Y), and the state (B rows) after the last ones.

        Computed in the precision of the state, also under autocast.
        """
        wide = state[0].dtype
        given = given.to(wide)
        with without_autocast(given):
            if given.shape[0] == 0:
                return given.new_zeros(0, size), list(state)
            if self.cut is None:
                return _run(step, given, [self.batch] * self.steps, state)
            cut = self.cut
            begins = [s[cut.sequence] for s in state]
            if not bool(cut.opens.all()):
                anew = fresh(len(cut.sequence))
                begins = [torch.where(_beside(cut.opens, s), s, f) for s, f in zip(begins, anew)]
            outputs, ends = _run(step, given, cut.batch_sizes.tolist(), begins)
            last, any_step = cut.last.clamp_min(0), cut.last >= 0
            return outputs, [
                torch.where(_beside(any_step, s), end[last], s) for s, end in zip(state, ends)
            ]


def _run(
    step: Step, given: Tensor, rows: list[int], state: Sequence[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """The loop over steps, the next of which has `rows` rows: those of the pieces that go on."""
    outputs, ended = [], []
    for here in given.split(rows):
        n, before = len(here), len(state[0])
        if n < before:
            parts = [s.split([n, before - n]) for s in state]
            state = [going for going, _ in parts]
            ended.append([end for _, end in parts])
        y, state = step(here, state)
        outputs.append(y)
    ends = zip(state, *reversed(ended))
    return torch.cat(outputs), [torch.cat(end) for end in ends]


def _beside(flag: Tensor, x: Tensor) -> Tensor:
    """flag (rows,), to be broadcast over x (rows, …)."""
    return flag.view(-1, *[1] * (x.dim() - 1))
