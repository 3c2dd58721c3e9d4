"""The order in which the events of a memory depend on one another.

An event is a read or a write of one cell by one step. The events of one cell between two resets
form a *chain*. A chain begins with the cell's base (its row before the first step) and each write
adds a *version*; a read takes the newest version before it. This module computes integers alone, by
sorting, so that no tensor has N entries.

B sequences, T steps, H heads, K writes and J reads a step, P initial cells, N = memory_size,
M = P + T (K + J) events of one (sequence, head).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.rows import at_last


class Events(NamedTuple):
    """The events of every (sequence, head), sorted by chain, then by time. All (B·H, M)."""

    order: Tensor  # the position of each sorted event before sorting
    cell: Tensor  # its cell; N or more if the event does not count
    segment: Tensor  # the number of resets before it
    write: Tensor  # whether it is a write
    start: Tensor  # whether a chain starts here
    version: Tensor  # writes of its chain so far: the version that it made or reads


def sort_events(x: Inputs, memory_size: int) -> Events:
    B, T, H, K = x.write_index.shape
    device = x.write_index.device
    steps = (
        torch.cat([x.write_index, x.read_index], dim=-1).transpose(1, 2).flatten(2)
    )  # (B, H, T(K+J))
    each = K + x.read_index.shape[-1]
    P = x.given_cells
    key = steps if x.initial_cells is None else torch.cat([x.initial_cells, steps], dim=-1)
    M = key.shape[-1]
    place = torch.arange(M, device=device)
    # An event that does not count gets a cell of its own, so that it lengthens no chain.
    stride = memory_size + M
    key = torch.where(key < 0, memory_size + place, key)
    if x.lengths is not None:
        step = torch.div(place - P, each, rounding_mode="floor")  # negative for initial cells
        padding = step >= x.lengths.view(B, 1, 1)
        key = torch.where(padding, memory_size + place, key)
    if x.reset is not None:
        segment = _segment(x.reset, x.lengths).repeat_interleave(each, dim=1)  # (B, T(K+J))
        key = key + stride * torch.nn.functional.pad(segment, (P, 0)).unsqueeze(1)
    key, order = key.reshape(B * H, M).sort(dim=-1, stable=True)
    one = torch.ones_like(key[:, :1], dtype=torch.bool)
    start = torch.cat([one, key[:, 1:] != key[:, :-1]], dim=1)
    write = ((place >= P) & ((place - P) % each < K))[order]
    made = write.cumsum(dim=1)
    before = at_last(start, made - write.long(), 0)
    segment = torch.div(key, stride, rounding_mode="floor")
    return Events(order, key - segment * stride, segment, write, start, made - before)


def _segment(reset: Tensor, lengths: Tensor | None) -> Tensor:
    """(B, T) -> the number of resets up to each step; padding stays in the last segment."""
    if lengths is not None:
        reset = reset & (torch.arange(reset.shape[1], device=reset.device) < lengths[:, None])
    return reset.long().cumsum(dim=1)


def last_segment(reset: Tensor | None, lengths: Tensor | None, batch: int) -> Tensor | None:
    """(B,) the segment in which each sequence ends, or None without resets."""
    if reset is None:
        return None
    return _segment(reset, lengths)[:, -1] if reset.shape[1] else reset.new_zeros(batch).long()


def unsort(events: Events, values: Tensor, shape: tuple[int, ...], P: int) -> list[Tensor]:
    """Sorted (B·H, M) values -> initial (B, H, P), writes (B, T, H, K) and reads (B, T, H, J)."""
    B, T, H, K, J = shape
    back = torch.empty_like(values).scatter_(1, events.order, values)
    back = back.view(B, H, P + T * (K + J))
    steps = back[..., P:].unflatten(-1, (T, K + J)).transpose(1, 2)
    # clone, not contiguous: the outputs of an operator must not share memory.
    parts = (back[..., :P], steps[..., :K], steps[..., K:])
    return [part.clone(memory_format=torch.contiguous_format) for part in parts]


def chain_ends(start: Tensor) -> Tensor:
    """(B·H, M) whether a chain ends at each sorted event."""
    return torch.cat([start[:, 1:], torch.ones_like(start[:, :1])], dim=1)


def final_columns(
    events: Events,
    last: Tensor | None,  # (B,) from `last_segment`
    memory_size: int,
    P: int,
    size: int,
) -> Tensor:
    """(B·H, M) the place of each chain's end in the final memory; `size` for no place.

    The final memory holds a cell that was written since the last reset, or that was given at the
    start and never reset. A cell that was only read is left out.
    """
    rows, M = events.order.shape
    place = torch.arange(M, device=events.order.device).expand(rows, M)
    first = at_last(events.start, place, 0)
    given = events.order.gather(1, first) < P
    keep = chain_ends(events.start) & (events.cell < memory_size) & ((events.version > 0) | given)
    if last is not None:
        keep = keep & (events.segment == last.repeat_interleave(rows // max(1, len(last)))[:, None])
    return torch.where(keep, keep.cumsum(dim=1) - 1, size)


def final_cells(
    events: Events,
    slot: Tensor,  # (B·H, M) the newest version of each event's chain
    column: Tensor,  # (B·H, M) from `final_columns`
    size: int,
) -> tuple[Tensor, Tensor]:
    """The cells of the final memory, ascending, and the slots of their rows, (B·H, size).

    -1 for places beyond the last cell.
    """
    rows = slot.shape[0]
    cells = slot.new_full((rows, size + 1), -1).scatter(1, column, events.cell)
    slots = slot.new_full((rows, size + 1), -1).scatter(1, column, slot)
    return cells[:, :size].contiguous(), slots[:, :size].contiguous()
