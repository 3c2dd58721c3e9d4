"""The tensors of `memory_scan` under one name: checks, dtype of the computation, padding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor


class Inputs(NamedTuple):
    """The tensors of the operator; `reference.memory_scan` gives their shapes."""

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
    query: Tensor | None = None
    match: Tensor | None = None
    null: Tensor | None = None

    @property
    def tag_width(self) -> int:
        """A, the numbers at the end of a row that are its tag; 0 if reads are not tagged."""
        return 0 if self.query is None else self.query.shape[-1]

    @property
    def values(self) -> int:
        """D, the numbers of a row that are its value."""
        return self.candidate.shape[-1] - self.tag_width

    @property
    def given_cells(self) -> int:
        """P, the places for cells in a compact initial memory; 0 without one."""
        return 0 if self.initial_cells is None else self.initial_cells.shape[-1]

    @property
    def has_base(self) -> bool:
        """Whether cells may hold other values than zeros before they are written."""
        return self.initial_rows is not None or self.fresh_left is not None


DIFFERENTIABLE = (
    "write_weight",
    "gate",
    "candidate",
    "read_weight",
    "initial_rows",
    "fresh_left",
    "fresh_right",
    "query",
    "match",
    "null",
)


def compute_dtype(x: Inputs) -> torch.dtype:
    """float64 if any input is; else float32, also for half precision."""
    wide = any(
        value is not None and value.dtype == torch.float64
        for value in (getattr(x, name) for name in DIFFERENTIABLE)
    )
    return torch.float64 if wide else torch.float32


def widen(x: Inputs, names: Sequence[str] = DIFFERENTIABLE) -> Inputs:
    """Inputs in the dtype of the computation, contiguous, with zeros in the padding."""
    dtype = compute_dtype(x)
    values = {
        name: value.to(dtype).contiguous()
        for name in names
        if (value := getattr(x, name)) is not None
    }
    pad = padding(x)
    if pad is not None:
        steps = ("write_weight", "gate", "candidate", "read_weight", "query")
        for name in (name for name in steps if name in values):
            shape = (*pad.shape, *[1] * (values[name].dim() - 2))
            values[name] = values[name].masked_fill(pad.view(shape), 0)
    return x._replace(**values)


def padding(x: Inputs) -> Tensor | None:
    """(B, T) True at steps after a sequence's end; None without lengths."""
    if x.lengths is None:
        return None
    steps = torch.arange(x.gate.shape[1], device=x.gate.device)
    return steps >= x.lengths.unsqueeze(1)


def most_writes(x: Inputs, counts: Sequence[int]) -> int:
    """K, the most writes of a head at a step; counts: as in `uneven`"""
    return max(counts[: len(counts) // 2]) if counts else x.write_index.shape[3]


def dense_final(x: Inputs, memory_size: int, counts: Sequence[int] = ()) -> bool:
    """Whether the final memory has all N rows: it began so, or the writes may touch N cells."""
    if x.initial_rows is not None and x.initial_cells is None:
        return True
    return x.given_cells + x.write_index.shape[1] * most_writes(x, counts) >= memory_size


def empty_results(
    x: Inputs,
    memory_size: int,
    want_final: bool,
    counts: Sequence[int] = (),
    written_only: bool = False,
) -> list[Tensor]:
    """Uninitialised outputs, cells and rows in the shapes that every path returns."""
    B, T, H = x.gate.shape
    K = most_writes(x, counts)
    width = x.candidate.shape[-1]
    cells = rows = (0 if written_only else x.given_cells) + T * K if want_final else 0
    if want_final and not written_only and dense_final(x, memory_size, counts):
        cells, rows = 0, memory_size
    return [
        x.candidate.new_empty(B, T, H, x.values + (x.query is not None)),
        x.write_index.new_empty(B, H, cells),
        x.candidate.new_empty(B, H, rows, width, dtype=compute_dtype(x)),
    ]


Counts = Sequence[int] | None


def check(
    x: Inputs, memory_size: int, write_counts: Counts = None, read_counts: Counts = None
) -> None:
    """Raise ValueError for a shape or a value, TypeError for a dtype. Reads no data."""
    if memory_size < 1:
        raise ValueError(f"memory_size: expected at least 1 cell, got {memory_size}")
    _shape("candidate", x.candidate, ("B", "T", "H", "D"))
    B, T, H, D = x.candidate.shape
    if (write_counts is None) != (read_counts is None):
        missing = "write_counts" if write_counts is None else "read_counts"
        raise ValueError(f"{missing}: expected the counts of both writes and reads, got None")
    for kind, letter, value, counts in (
        ("write", "K", x.write_index, write_counts),
        ("read", "J", x.read_index, read_counts),
    ):
        name = f"{kind}_index"
        _dtype(name, value, torch.int64)
        if counts is None:
            _shape(name, value, (B, T, H, letter))
            if value.shape[3] == 0:
                raise ValueError(f"{name}: expected at least one address a step, got {letter} = 0")
        else:
            if len(counts) != H or any(count < 1 for count in counts):
                raise ValueError(
                    f"{kind}_counts: expected {H} numbers of 1 or more, got {[*counts]}"
                )
            _shape(name, value, (B, T, sum(counts)))
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
    _check_tag(x)


def _check_tag(x: Inputs) -> None:
    given = {name: getattr(x, name) for name in ("query", "match", "null")}
    if all(value is None for value in given.values()):
        return
    for name, value in given.items():
        if value is None:
            raise ValueError(f"{name}: expected query, match and null or none of them, got None")
    B, T, H, D = x.candidate.shape
    _shape("query", given["query"], (B, T, H, "A"))
    _shape("match", given["match"], (H,))
    _shape("null", given["null"], (H,))
    if not 0 < x.tag_width < D:
        raise ValueError(f"query: expected a width A in [1, {D - 1}], got {x.tag_width}")


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
