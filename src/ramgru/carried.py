"""A memory carried from chunk to chunk: each chunk costs the cells that it touches.

The chunk's cells are looked up in the memory's table, the chunk runs over them, and what it wrote
is put into the table, at once or when the state is detached. B sequences, T steps, H heads.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.memory_scan import memory_chunk
from ramgru.kernels.memory_scan.operator import OPERATION
from ramgru.kernels.memory_scan.table import MOST_CELLS
from ramgru.memory_state import MemoryState
from ramgru.ragged import padding_mask
from ramgru.versions import Held, Version

Counts = tuple[Sequence[int], Sequence[int]]


def scan(
    inputs: dict[str, Any],  # the arguments of `memory_scan` for the steps of a chunk
    state: MemoryState,
    carried: dict[str, Tensor],  # of the state after the chunk
    want_final: bool,
) -> tuple[Tensor, MemoryState | None] | None:
    """-> the reads and the memory after the chunk; None where the whole memory has to take part:
    it is about as small as what the chunk touches, it has a graph, or no native kernel runs."""
    version = _version(inputs, state)
    if version is None:
        return None
    write, read = inputs["write_index"], inputs["read_index"]
    counts = inputs.pop("write_counts"), inputs.pop("read_counts")
    if counts[0] is None:
        H = write.shape[2]
        counts = [write.shape[3]] * H, [read.shape[3]] * H
    reset, lengths = inputs["reset"], inputs["lengths"]
    cells, rows = version.find(write, read, counts, lengths)
    y, changed, after = memory_chunk(
        **inputs,
        counts=counts if write.dim() == 3 else None,
        initial_cells=cells,
        initial_rows=rows,
    )
    if not want_final:
        return y, None
    if reset is not None:
        pad = None if lengths is None else padding_mask(lengths, reset.shape[1])
        reset = (reset if pad is None else reset & ~pad).any(1)
    held = Held(version, changed, after, reset)
    return y, state.with_held(held if after.requires_grad else held.settled(), carried)


def _version(inputs: dict[str, Any], state: MemoryState) -> Version | None:
    if not dispatch.is_eager():  # first: a traced graph would be bound to the lengths that it met
        return None
    write, candidate = inputs["write_index"], inputs["candidate"]
    T, most = write.shape[1], max(inputs["write_counts"] or write.shape[3:])
    if not 2 * T * most <= state.memory_size <= MOST_CELLS:
        return None
    tensors = [value for value in inputs.values() if isinstance(value, Tensor)]
    if OPERATION.choose(*tensors).path != dispatch.CPU:
        return None
    wide = torch.float64 if candidate.dtype == torch.float64 else torch.float32
    fresh = state.fresh
    graph = torch.is_grad_enabled()
    if fresh is not None and graph and any(f.requires_grad for f in fresh):
        return None
    if state.held is not None:
        if state.held.cells is not None or state.held.version.table.rows.dtype != wide:
            return None
        return state.held.version
    rows = state.rows
    if (
        rows.shape[2] <= T * most
        or rows.dtype != wide
        or (graph and rows.requires_grad)
        or OPERATION.choose(state.cells, rows).path != dispatch.CPU
    ):
        return None
    return Version.of(state.memory_size, state.cells, rows, fresh)
