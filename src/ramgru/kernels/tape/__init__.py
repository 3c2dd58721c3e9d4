"""Tape heads: positions that gates move, and the two cells that each write and each read covers.

B sequences, T steps, H heads. The equations stand in `ramgru.tape`.
"""

from __future__ import annotations

from torch import Tensor

from ramgru.kernels.fused import Fused
from ramgru.kernels.tape import cpu
from ramgru.kernels.tape import torch as portable
from ramgru.kernels.tape.torch import REACH, covered

__all__ = ["REACH", "covered", "tape"]

_tape = Fused(portable.tape, cpu.tape_forward, cpu.tape_backward)


def tape(
    moves: Tensor,  # (B, T, 3 H), float32 or float64: push, jump and pop before their gates
    position: Tensor,  # (B, 2 H) float64: of writes, then of reads, before the first step
    reset: Tensor | None,  # (B, T) True: both positions are 0 before the step
    lengths: Tensor | None,  # (B,) steps that count: later ones move nothing
    *,
    cells: int,
    window: int = 1,  # cells on each side of a read that its gradient sees
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """-> cells written and their weights, cells read and theirs, (B, T, H, 2) and (B, T, H,
    2 window), and the positions after the last step (B, 2 H)."""
    found = _tape((moves, position, reset, lengths), cells, window)
    return found  # type: ignore[return-value]
