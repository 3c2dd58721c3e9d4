"""Tape heads by the native kernels of `tape.h`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.native import contiguous

MaybeTensor = Tensor | None

SIZES = "B T H cells window"
FORWARD = native.arguments(
    "TapeForward",
    SIZES,
    "moves position reset lengths write_index write_weight read_index read_weight positions",
)
BACKWARD = native.arguments(
    "TapeBackward",
    SIZES,
    "moves position reset lengths positions grad_write grad_read grad_last "
    "grad_moves grad_position",
)


def tape_forward(
    moves: Tensor,
    position: Tensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
    cells: int,
    window: int,
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    (B, T, _), H, dtype = moves.shape, position.shape[1] // 2, moves.dtype
    given = [contiguous(t) for t in (moves, position, reset, lengths)]
    made = [torch.empty(B, T, H, n, dtype=t) for n in (2, 2 * window) for t in (torch.int64, dtype)]
    positions = torch.empty(B, T, 2 * H, dtype=torch.float64)
    tensors = (*given, *made, positions)
    native.call("tape_forward", dtype, FORWARD, (B, T, H, cells, window), tensors)
    return (*made, positions[:, -1].clone()), [positions]


def tape_backward(
    grads: Sequence[MaybeTensor],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    moves: Tensor,
    position: Tensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
    cells: int,
    window: int,
) -> list[MaybeTensor]:
    (B, T, _), H = moves.shape, position.shape[1] // 2
    given = [contiguous(t) for t in (moves, position, reset, lengths, *kept)]
    above = [contiguous(g) for g in (grads[1], grads[3], grads[4])]
    found = [torch.empty(t.shape, dtype=t.dtype) for t in (moves, position)]
    tensors: tuple[Any, ...] = (*given, *above, *found)
    native.call("tape_backward", moves.dtype, BACKWARD, (B, T, H, cells, window), tensors)
    return [*found, None, None]
