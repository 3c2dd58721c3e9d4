"""What `memory_scan` says of arguments that do not fit together; it reads shapes and types only."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs


def check(x: Inputs, memory_size: int) -> None:
    """ValueError for a shape or a value, TypeError for a dtype; arguments as in `memory_scan`."""
    if memory_size < 1:
        raise ValueError(f"memory_size: expected at least 1 cell, got {memory_size}")
    _shape("candidate", x.candidate, ("B", "T", "H", "D"))
    B, T, H, D = x.candidate.shape
    for name, value, letter in (
        ("write_index", x.write_index, "K"),
        ("read_index", x.read_index, "J"),
    ):
        _dtype(name, value, torch.int64)
        _shape(name, value, (B, T, H, letter))
        if value.shape[3] == 0:
            raise ValueError(f"{name}: expected at least one address a step, got {letter} = 0")
    _shape("write_weight", x.write_weight, tuple(x.write_index.shape))
    _shape("read_weight", x.read_weight, tuple(x.read_index.shape))
    _shape("gate", x.gate, (B, T, H))

    if x.initial_cells is not None:
        if x.initial_rows is None:
            raise ValueError("initial_rows: expected the rows of initial_cells, got None")
        _dtype("initial_cells", x.initial_cells, torch.int64)
        _shape("initial_cells", x.initial_cells, (B, H, "P"))
        _shape("initial_rows", x.initial_rows, (*x.initial_cells.shape, D))
    elif x.initial_rows is not None:
        _shape("initial_rows", x.initial_rows, (B, H, memory_size, D))

    if (x.fresh_left is None) != (x.fresh_right is None):
        missing = "fresh_left" if x.fresh_left is None else "fresh_right"
        raise ValueError(f"{missing}: expected both factors of the fresh memory or none, got None")
    if x.fresh_left is not None and x.fresh_right is not None:
        _shape("fresh_left", x.fresh_left, (H, "R", D))
        _shape("fresh_right", x.fresh_right, (H, "C", D))
        R, C = x.fresh_left.shape[1], x.fresh_right.shape[1]
        if memory_size > R * C:
            raise ValueError(
                f"fresh_left, fresh_right: expected R·C of at least memory_size = {memory_size}, "
                f"got {R}·{C} = {R * C}"
            )
    if x.reset is not None:
        _dtype("reset", x.reset, torch.bool)
        _shape("reset", x.reset, (B, T))
    if x.lengths is not None:
        _dtype("lengths", x.lengths, torch.int64)
        _shape("lengths", x.lengths, (B,))


def _shape(name: str, value: Tensor, shape: tuple[int | str, ...]) -> None:
    """A letter in `shape` stands for any size."""
    fits = value.dim() == len(shape) and all(
        isinstance(want, str) or size == want for size, want in zip(value.shape, shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "")
        raise ValueError(f"{name}: expected shape ({wanted}), got {tuple(value.shape)}")


def _dtype(name: str, value: Tensor, dtype: torch.dtype) -> None:
    if value.dtype != dtype:
        raise TypeError(f"{name}: expected {dtype}, got {value.dtype}")
