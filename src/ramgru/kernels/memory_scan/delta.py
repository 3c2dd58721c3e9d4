"""The delta rule: the K addressed cells share one error-correcting write, step after step.

u = z (c - sum_k a[k] M[i_k]), then M[i_k] += a[k] u. The cells of one step depend on each other,
so time is walked; but each step touches K rows of a table of versions and never a table of cells.

R = B·H sequences and heads; other letters as in `plan`. Versions lie at bases + t·R·K + r·K + k.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import plan
from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.rows import add_rows_


class Steps(NamedTuple):
    """Where each event's version lies, and what each write finds in its cell."""

    initial_slot: Tensor  # (B, H, P)
    held_slot: Tensor  # (T, R, K) the version that a write finds
    read_slot: Tensor  # (B, T, H, J)
    final_cell: Tensor  # as in `chains.Chains`
    final_slot: Tensor
    block: Tensor  # (1,) the number of bases
    base: Tensor  # as in `chains.Chains`


def build(x: Inputs, memory_size: int, want_final: bool) -> Steps:
    B, T, H, K = x.write_index.shape
    J = x.read_index.shape[-1]
    P = x.given_cells
    events = plan.sort_events(x, memory_size)
    order, start = events.order, events.start
    R, M = order.shape
    device = order.device
    place = torch.arange(M, device=device).expand_as(order)
    row = torch.arange(R, device=device)[:, None].expand_as(order)
    chain = (start.flatten().cumsum(0) - 1).view_as(order)
    number = int(chain[-1, -1]) + 1 if chain.numel() else 0
    bases = number if x.has_base else 1

    # The version that each sorted write makes, by its step, sequence and number.
    step = torch.div(order - P, K + J, rounding_mode="floor")
    own = bases + (step * R + row) * K + (order - P) % (K + J)
    base_slot = chain if x.has_base else torch.zeros_like(chain)
    # The newest write up to each event, and up to the step before it, if its chain has one.
    newest = torch.where(events.write, place, -1).cummax(dim=1).values if M else place
    first = torch.where(start, place, 0).cummax(dim=1).values if M else place
    step_start = start.clone()
    step_start[:, 1:] |= step[:, 1:] != step[:, :-1]
    before = torch.where(step_start, place, 0).cummax(dim=1).values - 1 if M else place
    earlier = torch.where(before >= first, newest.gather(1, before.clamp_min(0)), -1)

    def version(at: Tensor) -> Tensor:
        return torch.where(at >= first, own.gather(1, at.clamp_min(0)), base_slot)

    current = version(newest)
    initial, _, read = plan.unsort(events, current, (B, T, H, K, J), P)
    _, held, _ = plan.unsort(events, version(earlier), (B, T, H, K, J), P)

    size = P + T * K if want_final else 0
    if want_final:
        last = plan.last_segment(x.reset, x.lengths, B)
        column = plan.final_columns(events, last, memory_size, P, size)
        final_cell, final_slot = plan.final_cells(events, current, column, size)
    else:
        final_cell, final_slot = order.new_zeros(R, 0), order.new_zeros(R, 0)
    base = order.new_zeros(3, order.numel() if x.has_base else 0)
    if x.has_base:
        cell = torch.where(events.cell < memory_size, events.cell, -1)
        for i, values in enumerate((cell, row, events.segment)):
            base[i, :number] = values[start]
    return Steps(
        initial,
        held.transpose(0, 1).reshape(T, R, K).contiguous(),
        read,
        final_cell,
        final_slot,
        order.new_full((1,), bases),
        base,
    )


def same_cell(write_index: Tensor) -> Tensor | None:
    """(T, R, K, K) 1 where two addresses of a step name one cell; None if no step has such."""
    B, T, H, K = write_index.shape
    index = write_index.transpose(0, 1).reshape(T, B * H, K)
    same = index.unsqueeze(-1) == index.unsqueeze(-2)
    return same if int(same.sum()) > T * B * H * K else None


def by_time(x: Tensor) -> Tensor:
    """(B, T, H, ...) -> (T, R, ...)"""
    return x.transpose(0, 1).flatten(1, 2)


def total_weight(weight: Tensor, same: Tensor | None) -> Tensor:
    """(T, R, K) the weight that each address's cell gets from the whole step."""
    if same is None:
        return weight
    return (same.to(weight.dtype) @ weight.unsqueeze(-1)).squeeze(-1)


def forward(
    weight: Tensor,  # (B, T, H, K)
    gate: Tensor,  # (B, T, H)
    candidate: Tensor,  # (B, T, H, D)
    base: Tensor,  # (bases, D)
    steps: Steps,
    write_index: Tensor,
    capacity: int,
) -> Tensor:
    """-> versions (capacity, D), of which the first bases + T·R·K rows are used"""
    T, R, K = steps.held_slot.shape
    D = candidate.shape[-1]
    a, z, c = by_time(weight), by_time(gate), by_time(candidate)
    total = total_weight(a, same_cell(write_index))
    frozen = (total == 0) | (z.unsqueeze(-1) == 0)  # (T, R, K)
    any_frozen = bool(frozen.any())
    first = base.shape[0]
    versions = candidate.new_zeros(capacity, D)  # on a CPU, rows cost nothing until they are used
    versions[:first] = base
    for t in range(T):
        held = versions.index_select(0, steps.held_slot[t].flatten()).view(R, K, D)
        u = torch.baddbmm(c[t].unsqueeze(1), a[t].unsqueeze(1), held, alpha=-1)
        u = u * z[t].view(R, 1, 1)  # (R, 1, D)
        now = versions[first + t * R * K : first + (t + 1) * R * K].view(R, K, D)
        torch.addcmul(held, total[t].unsqueeze(-1), u, out=now)
        if any_frozen:  # -0.0 + 0 is +0.0: a frozen cell keeps even the sign of a zero
            now.copy_(torch.where(frozen[t].unsqueeze(-1), held, now))
    return versions


def forward_differentiable(
    weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    base: Tensor,
    steps: Steps,
    write_index: Tensor,
) -> Tensor:
    """The same, built of differentiable calls: the path of second derivatives."""
    T, R, K = steps.held_slot.shape
    a, z, c = by_time(weight), by_time(gate), by_time(candidate)
    total = total_weight(a, same_cell(write_index))
    versions = base
    for t in range(T):
        held = versions[steps.held_slot[t]]  # (R, K, D)
        u = z[t].view(R, 1, 1) * (c[t].unsqueeze(1) - a[t].unsqueeze(1) @ held)
        versions = torch.cat([versions, (held + total[t].unsqueeze(-1) * u).flatten(0, 1)])
    return versions


def backward(
    grad: Tensor,  # of the versions; overwritten
    weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    versions: Tensor,
    steps: Steps,
    write_index: Tensor,
) -> tuple[Tensor, Tensor, Tensor]:
    """-> gradients of weight, gate and candidate; `grad` becomes that of each version."""
    T, R, K = steps.held_slot.shape
    B, _, H, D = candidate.shape
    a, z, c = by_time(weight), by_time(gate), by_time(candidate)
    same = same_cell(write_index)
    total = total_weight(a, same)
    first = int(steps.block[0])
    grad_a, grad_z, grad_c = torch.empty_like(a), torch.empty_like(z), torch.empty_like(c)
    grad_total = torch.empty_like(a)
    for t in reversed(range(T)):
        where = steps.held_slot[t].flatten()
        held = versions.index_select(0, where).view(R, K, D)
        error = torch.baddbmm(c[t].unsqueeze(1), a[t].unsqueeze(1), held, alpha=-1)  # (R, 1, D)
        gate_t = z[t].view(R, 1, 1)
        dv = grad[first + t * R * K : first + (t + 1) * R * K].view(R, K, D)
        du = total[t].unsqueeze(1) @ dv  # (R, 1, D)
        grad_total[t] = (dv @ (error * gate_t).transpose(1, 2)).squeeze(-1)
        grad_z[t] = (du * error).sum((1, 2))
        derror = du * gate_t
        grad_c[t] = derror.squeeze(1)
        grad_a[t] = -(held @ derror.transpose(1, 2)).squeeze(-1)
        dheld = torch.addcmul(dv, a[t].unsqueeze(-1), derror, value=-1).view(R * K, D)
        add_rows_(grad, where, dheld)
    grad_a += total_weight(grad_total, same)

    def by_batch(x: Tensor) -> Tensor:
        return x.unflatten(1, (B, H)).transpose(0, 1)

    return by_batch(grad_a), by_batch(grad_z), by_batch(grad_c)
