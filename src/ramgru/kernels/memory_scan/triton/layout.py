"""The order of events for the Triton kernels: codes of rows, in shapes that no data decide.

A *code* names the row that an event finds in its cell:

    0 … E - 1            the version made by write (step · K + k), E = B·T·H·K
    E … E + I - 1        a row of the initial memory, I = B·H·P, or B·H·N if all rows are given
    E + I + event        the fresh row of a chain that starts at this sorted event
    -1, -2               no access; a row of zeros

Letters as in `plan`; R = B·H. This module computes integers alone, in PyTorch.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs, dense_final
from ramgru.kernels.memory_scan.torch import plan

NONE, ZERO, CONTINUES = -1, -2, -3


class Layout(NamedTuple):
    """The events as the kernels see them, sorted by chain and then by time."""

    order: Tensor  # (R, M) int32: the position of each sorted event before sorting
    base: Tensor  # (R, M) the code that a chain begins with, at its start; else CONTINUES
    write: Tensor  # (B, T, H, K) the code that each write finds
    read: Tensor  # (B, T, H, J) the code that each read takes
    final: Tensor  # (R, M) the final row in which each sorted event's chain ends, or -1; or (R, 0)
    fresh: Tensor  # (R, M) the cell of each sorted event, counted over all sets; or (R, 0)


class Final(NamedTuple):
    """The sources of the final memory: (R, size) each, or (R, M) for a dense one."""

    cell: Tensor  # -1 for unused places
    code: Tensor
    row: Tensor  # the final row, counted over all sequences and heads, or -1


def given_rows(x: Inputs) -> int:
    """I, the number of rows of the initial memory."""
    if x.initial_rows is None:
        return 0
    B, H, P, _ = x.initial_rows.shape
    return B * H * P


def events_each(x: Inputs) -> int:
    """M, the number of events of one (sequence, head)."""
    T, K, J = x.write_index.shape[1], x.write_index.shape[3], x.read_index.shape[3]
    return x.given_cells + T * (K + J)


def empty_layout(x: Inputs, want_final: bool) -> Layout:
    B, _, H, _ = x.write_index.shape
    M = events_each(x)
    dtype, new = _code_dtype(x), x.write_index.new_empty
    return Layout(
        new(B * H, M, dtype=torch.int32),
        new(B * H, M, dtype=dtype),
        new(x.write_index.shape, dtype=dtype),
        new(x.read_index.shape, dtype=dtype),
        new(B * H, M if want_final else 0, dtype=dtype),
        new(B * H, 0 if x.fresh_left is None else M),
    )


def _code_dtype(x: Inputs) -> torch.dtype:
    B, T, H, K = x.write_index.shape
    largest = B * T * H * K + given_rows(x) + B * H * events_each(x)
    return torch.int32 if largest < 2**31 else torch.int64


def build(x: Inputs, memory_size: int, want_final: bool) -> tuple[Layout, Final | None]:
    B, T, H, K = x.write_index.shape
    J, P = x.read_index.shape[-1], x.given_cells
    events = plan.sort_events(x, memory_size)
    order, start = events.order, events.start
    R, M = order.shape
    place = torch.arange(M, device=order.device).expand(R, M)
    row = torch.arange(R, device=order.device)[:, None]
    base = _bases(x, events, memory_size)
    first = _latest(start, place)

    step = torch.div(order - P, K + J, rounding_mode="floor")
    head = torch.div(row, H, rounding_mode="floor") * T * H + row % H
    own = (head + step * H) * K + (order - P) % (K + J)  # the version that each write makes

    def version(at: Tensor) -> Tensor:
        """The code of the newest version at a sorted event; negative numbers stand for none."""
        return torch.where(at >= first, own.gather(1, at.clamp_min(0)), base.gather(1, first))

    newest = _latest(events.write, place, -1)
    before = torch.nn.functional.pad(newest, (1, 0), value=-1)[:, :M]
    dtype = _code_dtype(x)
    _, write, read = plan.unsort(events, version(before).to(dtype), (B, T, H, K, J), P)

    final_row = order.new_empty(R, 0)
    final = None
    if want_final:
        final, final_row = _final(x, events, version(newest), memory_size)
    layout = Layout(
        order.to(torch.int32),
        torch.where(start, base, CONTINUES).to(dtype),
        write,
        read,
        final_row.to(dtype),
        _fresh_cells(x, events.cell, row, memory_size),
    )
    return layout, final


def _latest(event: Tensor, place: Tensor, none: int = 0) -> Tensor:
    """(R, M) the last marked event up to each sorted event."""
    return torch.where(event, place, none).cummax(dim=1).values if place.shape[1] else place


def _bases(x: Inputs, events: plan.Events, memory_size: int) -> Tensor:
    """(R, M) the code that a chain would begin with if it started at this event."""
    order, cell = events.order, events.cell
    R, M = order.shape
    row = torch.arange(R, device=order.device)[:, None]
    first = x.write_index.numel()
    base = torch.full_like(order, ZERO)
    if x.fresh_left is not None:
        base = (first + given_rows(x) + row * M) + torch.arange(M, device=order.device)
    if x.initial_cells is not None:
        given = x.given_cells
        base = torch.where(order < given, first + row * given + order, base)
    elif x.initial_rows is not None:
        base = torch.where(events.segment == 0, first + row * memory_size + cell, base)
    return torch.where(cell < memory_size, base, NONE)


def _fresh_cells(x: Inputs, cell: Tensor, row: Tensor, memory_size: int) -> Tensor:
    if x.fresh_left is None or x.fresh_right is None:
        return cell.new_empty(cell.shape[0], 0)
    sets, rows = x.fresh_left.shape[:2]  # H sets for all sequences, or B·H, one for each
    cell = torch.where(cell < memory_size, cell, 0)
    return (row % sets) * rows * x.fresh_right.shape[1] + cell


def _final(
    x: Inputs, events: plan.Events, newest: Tensor, memory_size: int
) -> tuple[Final, Tensor]:
    """-> the sources of the final memory, and (R, M) the final row of each chain's end"""
    B, T, _, K = x.write_index.shape
    last = plan.last_segment(x.reset, x.lengths, B)
    R = newest.shape[0]
    row = torch.arange(R, device=newest.device)[:, None]
    if dense_final(x, memory_size):
        # Cells that were only read are included, so that the gradients of their reads and of
        # their final rows meet.
        keep = plan.chain_ends(events.start) & (events.cell < memory_size)
        if last is not None:
            keep = keep & (events.segment == last.repeat_interleave(R // max(1, B))[:, None])
        where = torch.where(keep, row * memory_size + events.cell, NONE)
        return Final(events.cell.new_empty(R, 0), newest, where), where
    size = x.given_cells + T * K
    column = plan.final_columns(events, last, memory_size, x.given_cells, size)
    where = torch.where(column < size, row * size + column, NONE)
    cells, codes = plan.final_cells(events, newest, column, size)
    return Final(cells, codes, row * size + torch.arange(size, device=row.device)), where
