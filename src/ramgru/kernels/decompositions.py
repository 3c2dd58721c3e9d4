"""The operators of this package by torch's own: sorting, gathers, and loops as `scan`.

A graph in which they stand in for `torch.ops.ramgru` holds nothing that other systems do not know,
ONNX above all. All shapes follow from the shapes of the inputs. B sequences, T steps, H heads (or
hidden units), N cells, K writes and J reads a step, width D.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._higher_order_ops.scan import scan_op

from ramgru.kernels.memory_scan.inputs import (
    DIFFERENTIABLE,
    Inputs,
    compute_dtype,
    dense_final,
    widen,
)
from ramgru.kernels.memory_scan.tag import weigh_reads
from ramgru.kernels.memory_scan.torch import fresh_places, plan, untouched
from ramgru.kernels.memory_scan.uneven import even
from ramgru.kernels.recurrence.torch import padding
from ramgru.kernels.rows import at_last

MaybeTensor = Tensor | None


def over_time(
    step: Callable[..., list[Tensor]], start: Tensor, each: Sequence[Tensor], more: Sequence[Tensor]
) -> Tensor:
    """step(state, of the step…, more…) -> [state, output], for all steps; each (B, T, …), T of at
    least 1 -> outputs (B, T, …)"""
    if type(each[0].shape[1]) is int and each[0].shape[1] == 1:  # of a step that is exported alone
        return step(start, *(x.squeeze(1) for x in each), *more)[1].unsqueeze(1)
    steps = [x.transpose(0, 1).contiguous() for x in each]
    _, states = scan_op(step, [start.contiguous()], steps, tuple(more))
    outputs: Tensor = states.transpose(0, 1)
    return outputs


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    wide = torch.float64 if update.dtype == torch.float64 else torch.float32

    def step(h: Tensor, a: Tensor, u: Tensor) -> list[Tensor]:
        h = a * h + u
        return [h, h.clone()]

    each = [x.to(wide) for x in (decay, update)]
    if reverse:
        each = [x.flip(1) for x in each]
    states = over_time(step, initial.to(wide), each, ())
    return (states.flip(1) if reverse else states).to(update.dtype)


def gru(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Tensor, Tensor]:
    def recurrent(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return h @ weight + bias

    return _gated(recurrent, weight_hh.t(), projected, initial, bias_hh, reset, lengths)


def diagonal_gru(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Tensor, Tensor]:
    def recurrent(h: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return torch.cat([h, h, h], dim=-1) * weight + bias

    return _gated(recurrent, weight_hh, projected, initial, bias_hh, reset, lengths)


def _gated(
    recurrent: Callable[[Tensor, Tensor, Tensor], Tensor],
    weight: Tensor,
    projected: Tensor,
    initial: Tensor,
    bias: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Tensor, Tensor]:
    """As `recurrence.reference`. A mask a step says what a step keeps of the state before it, and
    whether it counts."""
    wide, (B, T, _) = torch.promote_types(initial.dtype, torch.float32), projected.shape
    ones = torch.ones(B, T, 1, dtype=wide, device=projected.device)
    keep = ones if reset is None else ones.masked_fill(reset.unsqueeze(-1), 0)
    pad = padding(projected, lengths)
    counts = ones if pad is None else ones.masked_fill(pad, 0)

    def step(
        h: Tensor, x: Tensor, keep: Tensor, counts: Tensor, weight: Tensor, bias: Tensor
    ) -> list[Tensor]:
        held = h * keep
        (xr, xz, xn), (hr, hz, hn) = x.chunk(3, dim=-1), recurrent(held, weight, bias).chunk(3, -1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        after = (1 - z) * torch.tanh(xn + r * hn) + z * held
        h = torch.where(counts > 0, after, h)
        return [h, h.clone()]

    weight = weight.to(wide).contiguous()
    bias = weight.new_zeros(3 * initial.shape[1]) if bias is None else bias.to(wide)
    each = (projected.to(wide), keep, counts)
    states = over_time(step, initial.to(wide), each, (weight, bias)).to(initial.dtype)
    last = states[:, -1].clone()
    return (states if lengths is None else states * counts.to(states.dtype)), last


def memory_scan(*args: Any) -> list[Tensor]:
    """-> outputs, final cells, final rows, as the operator's first three results"""
    x, (memory_size, counts, want_final) = Inputs(*args[: len(Inputs._fields)]), args[-3:]
    x = even(x, counts)
    one_step = x.gate.shape[1] == 1 and x.initial_cells is None and x.initial_rows is not None
    if one_step and x.reset is None and x.lengths is None:
        return _step(x)
    return _sorted(x, memory_size, want_final)


def _step(x: Inputs) -> list[Tensor]:
    """One step over all rows: one gather and one scatter for the writes, one gather for the reads.

    A cell that is named twice gets the same value twice: what its gates together let pass.
    """
    dtype, rows = compute_dtype(x), x.initial_rows
    assert rows is not None
    wide = {name: v.to(dtype) for name in DIFFERENTIABLE if (v := getattr(x, name)) is not None}
    x = x._replace(**wide)
    rows = wide["initial_rows"]
    write, read = x.write_index[:, 0], x.read_index[:, 0]  # (B, H, K), (B, H, J)
    cell = write.clamp_min(0)
    passes = 1 - (x.write_weight[:, 0] * x.gate[:, 0].unsqueeze(-1)).masked_fill(write < 0, 0)
    same = cell.unsqueeze(-1) == cell.unsqueeze(-2)
    kept = torch.where(same, passes.unsqueeze(-2), 1).prod(-1, keepdim=True)  # (B, H, K, 1)
    where = cell.unsqueeze(-1).expand(-1, -1, -1, rows.shape[-1])
    change = (1 - kept) * x.candidate[:, 0].unsqueeze(2)
    rows = rows.scatter(2, where, kept * rows.gather(2, where) + change)
    found = rows.gather(2, read.clamp_min(0).unsqueeze(-1).expand(-1, -1, -1, rows.shape[-1]))
    outputs = _outputs(x, found.unsqueeze(1))
    return [outputs, x.write_index.new_empty(*rows.shape[:2], 0), rows]


def _sorted(x: Inputs, memory_size: int, want_final: bool) -> list[Tensor]:
    """The events of every (sequence, head) sorted by cell, then by time: all writes of it are one
    linear recurrence, which begins anew at the first write of each cell."""
    B, T, H, K = x.write_index.shape
    J, P = x.read_index.shape[-1], x.given_cells
    x = widen(x)
    D, W = x.candidate.shape[-1], T * K
    events = plan.sort_events(x, memory_size)
    base = _bases(x, events, memory_size)  # (B·H, M, D)
    made = events.write.cumsum(1)  # the writes up to each event, in sorted order
    # (B·H, W) the sorted event that is the n-th write, and its number before sorting
    place = torch.arange(made.shape[1], device=made.device).expand_as(made)
    nth = torch.where(events.write, made - 1, W)
    event = made.new_zeros(B * H, W + 1).scatter(1, nth, place)[:, :W]
    number = events.order.gather(1, event) - P
    number = torch.div(number, K + J, rounding_mode="floor") * K + number.remainder(K + J)

    def rows(values: Tensor, index: Tensor) -> Tensor:
        return values.gather(1, index.unsqueeze(-1).expand(-1, -1, values.shape[-1]))

    gate = (x.write_weight * x.gate.unsqueeze(-1)).transpose(1, 2).reshape(B * H, W)
    g = gate.gather(1, number).unsqueeze(-1)
    step = torch.div(number, K, rounding_mode="floor")
    change = g * rows(x.candidate.transpose(1, 2).reshape(B * H, T, D), step)
    first = (events.version.gather(1, event) == 1).unsqueeze(-1)
    change = torch.where(first, (1 - g) * rows(base, event) + change, change)
    decay = torch.where(first, 0, 1 - g).expand(-1, -1, D)
    versions = linear_scan(decay, change, change.new_zeros(B * H, D), False)
    # The rows of all events, and of those that the results need.
    held = rows(versions, (made - 1).clamp_min(0))
    every = torch.where((events.version > 0).unsqueeze(-1), held, base)
    back = torch.zeros_like(events.order).scatter(1, events.order, place)
    read = back[:, P:].unflatten(1, (T, K + J))[..., K:].reshape(B * H, T * J)
    found = rows(every, read).view(B, H, T, J, D).transpose(1, 2)
    outputs = _outputs(x, found)
    cells, last = x.write_index.new_empty(B, H, 0), outputs.new_empty(B, H, 0, D)
    if want_final:
        cells, last = _final(x, events, every, memory_size)
    return [outputs, cells, last]


def _outputs(x: Inputs, found: Tensor) -> Tensor:
    """found (B, T, H, J, D) the rows that reads name -> outputs"""
    if x.query is None:
        weight = x.read_weight.masked_fill(x.read_index < 0, 0)
        return (weight.unsqueeze(-1) * found).sum(-2).to(x.candidate.dtype)
    seen = weigh_reads(x, found[..., x.values :])
    y = (seen.weight.unsqueeze(-1) * found[..., : x.values]).sum(-2)
    return torch.cat([y, seen.share.unsqueeze(-1)], dim=-1)


def _bases(x: Inputs, events: plan.Events, memory_size: int) -> Tensor:
    """(B·H, M, D) what the cell of each event held before the first write of its chain"""
    rows, M = events.order.shape
    D = x.candidate.shape[-1]
    some = (events.cell < memory_size).unsqueeze(-1)
    cell = events.cell.clamp_max(memory_size - 1)
    base = x.candidate.new_zeros(1, 1, 1).expand(rows, M, D)
    if x.fresh_left is not None and x.fresh_right is not None:
        row = torch.arange(rows, device=cell.device).unsqueeze(1).expand_as(cell)
        left, right = fresh_places(x, cell, row)
        base = x.fresh_left.flatten(0, 1)[left] + x.fresh_right.flatten(0, 1)[right]
    if x.initial_rows is not None:
        given = x.initial_rows.flatten(0, 1)  # (B·H, P or N, D)
        if x.initial_cells is None:
            source, has = cell, events.segment == 0
        else:
            place = torch.arange(M, device=cell.device).expand(rows, M)
            first = at_last(events.start, place, 0)
            source = events.order.gather(1, first)  # an initial cell is the first of its chain
            has = source < x.given_cells
            source = torch.where(has, source, 0)
            if x.given_cells == 0:
                return base
        held = given.gather(1, source.unsqueeze(-1).expand(-1, -1, D))
        base = torch.where(has.unsqueeze(-1), held, base)
    return torch.where(some, base, 0)


def _final(
    x: Inputs, events: plan.Events, every: Tensor, memory_size: int
) -> tuple[Tensor, Tensor]:
    B, T, H, K = x.write_index.shape
    D, size = every.shape[-1], x.given_cells + T * K
    last = plan.last_segment(x.reset, x.lengths, B)
    column = plan.final_columns(events, last, memory_size, x.given_cells, size)
    place = torch.arange(column.shape[1], device=column.device).expand_as(column)
    cells, source = plan.final_cells(events, place, column, size)
    source = source.clamp_min(0).unsqueeze(-1).expand(-1, -1, D)
    rows = every.gather(1, source).masked_fill((cells < 0).unsqueeze(-1), 0)
    if not dense_final(x, memory_size):
        return cells.view(B, H, size), rows.view(B, H, size, D)
    table = untouched(x, memory_size).reshape(B * H, memory_size, D)
    table = torch.nn.functional.pad(table, (0, 0, 0, 1))  # one more row, for unused places
    where = torch.where(cells < 0, memory_size, cells).unsqueeze(-1).expand(-1, -1, D)
    table = table.scatter(1, where, rows)[:, :memory_size]
    return cells.new_empty(B, H, 0), table.view(B, H, memory_size, D)
