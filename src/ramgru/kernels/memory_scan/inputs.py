"""The operator's tensors under one name, in the dtype of the computation, free of padding."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """The operator's tensors (shapes: `reference.memory_scan`)."""

    write_index: Tensor
    write_weight: Tensor
    gate: Tensor
    candidate: Tensor
    read_index: Tensor
    read_weight: Tensor
    initial_cells: Tensor | None
    initial_rows: Tensor | None
    fresh_left: Tensor | None
    fresh_right: Tensor | None
    reset: Tensor | None
    lengths: Tensor | None

    @property
    def given_cells(self) -> int:
        """P, places for cells in a compact initial memory; 0 where there is none."""
        return 0 if self.initial_cells is None else self.initial_cells.shape[-1]

    @property
    def has_base(self) -> bool:
        """Whether cells may hold something other than zeros before they are written."""
        return self.initial_rows is not None or self.fresh_left is not None


DIFFERENTIABLE = (
    "write_weight",
    "gate",
    "candidate",
    "read_weight",
    "initial_rows",
    "fresh_left",
    "fresh_right",
)


def compute_dtype(x: Inputs) -> torch.dtype:
    """float64 where any input is; else float32, also for half-precision inputs."""
    wide = any(
        value is not None and value.dtype == torch.float64
        for value in (getattr(x, name) for name in DIFFERENTIABLE)
    )
    return torch.float64 if wide else torch.float32


def widen(x: Inputs) -> Inputs:
    """Inputs in the dtype of the computation, contiguous, and with nothing in the padding."""
    dtype = compute_dtype(x)
    values = {
        name: value.to(dtype).contiguous()
        for name in DIFFERENTIABLE
        if (value := getattr(x, name)) is not None
    }
    pad = padding(x)
    if pad is not None:
        for name in ("write_weight", "gate", "candidate", "read_weight"):
            shape = (*pad.shape, *[1] * (values[name].dim() - 2))
            values[name] = values[name].masked_fill(pad.view(shape), 0)
    return x._replace(**values)


def padding(x: Inputs) -> Tensor | None:
    """(B, T) True at steps that lie behind a sequence's end."""
    if x.lengths is None:
        return None
    steps = torch.arange(x.gate.shape[1], device=x.gate.device)
    return steps >= x.lengths.unsqueeze(1)


def dense_final(x: Inputs, memory_size: int) -> bool:
    """Whether the final memory has all N rows: it came so, or so many cells may be touched."""
    if x.initial_rows is not None and x.initial_cells is None:
        return True
    return x.given_cells + x.write_index.shape[1] * x.write_index.shape[3] >= memory_size


def empty_results(x: Inputs, memory_size: int, want_final: bool) -> list[Tensor]:
    """Outputs, cells and rows as every path gives them, with nothing in them."""
    B, T, H, K = x.write_index.shape
    D = x.candidate.shape[-1]
    cells = rows = x.given_cells + T * K if want_final else 0
    if want_final and dense_final(x, memory_size):
        cells, rows = 0, memory_size
    return [
        x.candidate.new_empty(B, T, H, D),
        x.write_index.new_empty(B, H, cells),
        x.candidate.new_empty(B, H, rows, D, dtype=compute_dtype(x)),
    ]
