"""The memory's recurrence over a whole sequence: addressed, gated writes and reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ramgru.kernels.memory_scan import operator
from ramgru.kernels.memory_scan.chunk import chunk
from ramgru.kernels.memory_scan.inputs import Inputs, check
from ramgru.kernels.memory_scan.reference import memory_scan as reference
from ramgru.kernels.memory_scan.step import step_
from ramgru.kernels.memory_scan.tag import Tag
from ramgru.kernels.memory_scan.uneven import pad_heads

__all__ = ["Tag", "memory_chunk", "memory_scan", "pad_heads", "reference", "step_"]


def memory_scan(
    write_index: Tensor,
    write_weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    read_index: Tensor,
    read_weight: Tensor,
    *,
    memory_size: int,
    initial_cells: Tensor | None = None,
    initial_rows: Tensor | None = None,
    fresh_left: Tensor | None = None,
    fresh_right: Tensor | None = None,
    reset: Tensor | None = None,
    lengths: Tensor | None = None,
    query: Tensor | None = None,
    match: Tensor | None = None,
    null: Tensor | None = None,
    want_final: bool = True,
    write_counts: Sequence[int] | None = None,
    read_counts: Sequence[int] | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Write to and read from a memory of `memory_size` cells at every step of a batch.

    At step t, for each of the K addressed cells i, one after the other, with g = gate * weight:

        M[i] <- (1 - g) M[i] + g candidate

    then y = sum_j read_weight[j] M[read_index[j]]. Cells that are not addressed keep their bits.
    Neither time nor the memory saved for backward depends on `memory_size`.

    B sequences, T steps, H heads, K writes and J reads a step, width D, N = memory_size.

    write_index  (B, T, H, K) int64 in [0, N), or -1: no access
    write_weight (B, T, H, K) in [0, 1]; gate (B, T, H) in [0, 1]; candidate (B, T, H, D)
    read_index   (B, T, H, J) as write_index; read_weight (B, T, H, J)
    initial_cells, initial_rows: the memory before the first step. Either cells (B, H, P), each cell
        at most once and -1 if unused, with rows (B, H, P, D); or all rows (B, H, N, D) with cells
        None or (B, H, 0)
    fresh_left (H, R, D), fresh_right (H, C, D): a cell that was never written holds
        left[i // C] + right[i % C]; zeros without these factors
    reset        (B, T) bool: the memory is fresh again before this step
    lengths      (B,) int64: steps after a sequence's end neither write nor read; they output 0
    query (B, T, H, A), match (H,), null (H,): all, for tagged reads, or none. Then the last A of
        the D numbers of a row are its tag, and with r = read_weight, not negative, and cos_j the
        cosine of query and tag, 0 for a zero vector, a read weighs its cells by

            w_j = r_j exp(match cos_j) / (exp(null) + sum_i r_i exp(match cos_i))

        A match of 0 and a null of -inf give w = r / sum r; w = 0 where both sums are 0.

    write_counts, read_counts: both, the numbers of writes and of reads of each head, at least 1, if
        heads differ. The two last dimensions of the accesses are then one: write_index and
        write_weight (B, T, S) hold head after head, S = sum(write_counts); reads likewise. K is
        the largest count

    -> outputs (B, T, H, D), or with tags (B, T, H, D - A + 1): the value sum_j w_j M[i_j] without
    its tag, and the null share, exp(null) over the sum above; the final memory as cells (B, H, P')
    and rows (B, H, P', D), -1 and 0 for unused places, or as cells (B, H, 0) and rows (B, H, N, D)
    if P + T·K >= N or the initial memory has all rows. With want_final=False both are empty. Rows
    are float32 or wider.

    Indices are not checked here; the layer checks its caller's. Differentiable twice in all
    floating-point inputs; not in forward mode. With one cell and weight 1 the recurrence is minGRU
    (arXiv 2410.01201).
    """
    if (
        initial_cells is not None
        and initial_rows is not None
        and initial_cells.shape[-1] == 0
        and initial_rows.shape[-2] == memory_size
    ):
        initial_cells = None  # a final memory with all rows is an initial memory too
    x = Inputs(
        write_index,
        write_weight,
        gate,
        candidate,
        read_index,
        read_weight,
        initial_cells,
        initial_rows,
        fresh_left,
        fresh_right,
        reset,
        lengths,
        query,
        match,
        null,
    )
    check(x, memory_size, write_counts, read_counts)
    counts = [*(write_counts or ()), *(read_counts or ())]
    outputs, cells, rows = operator.memory_scan(*x, memory_size, counts, want_final)
    return outputs, cells, rows


def memory_chunk(
    *,
    memory_size: int,
    counts: tuple[Sequence[int], Sequence[int]] | None,
    **tensors: Any,
) -> tuple[Tensor, Tensor, Tensor]:
    """`memory_scan` over a part of a stream, given the rows of the cells that it touches.

    The arguments are those of `memory_scan`; initial_cells may leave out cells that were never
    written, and those that no step accesses. initial_rows get no gradient. counts: the writes and
    the reads of each head, if heads differ

    -> outputs, and the cells that the steps since the last reset wrote, ascending, -1 behind,
    (B, H, T·K), with their rows (B, H, T·K, D)
    """
    each = [*counts[0], *counts[1]] if counts is not None else []
    outputs, cells, rows = chunk(Inputs(**tensors), memory_size, each)
    return outputs, cells, rows
