"""The recurrence without a loop over time: all chains at once, one version after the other.

The history of a cell is a chain of its own, M <- (1 - g) M + g c. Version v of every chain lies in
one block, the longest chains first (as in a PackedSequence), so that block v is a single `lerp` of
block v - 1. The longest chain decides the number of calls; a loop over time would do the same work.

E = B·T·H·K writes in all; other letters as in `plan`.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.torch import plan
from ramgru.kernels.rows import weighted_sum


class Chains(NamedTuple):
    """The row of each event's version in the table of versions."""

    initial_slot: Tensor  # (B, H, P)
    write_slot: Tensor  # (B, T, H, K)
    read_slot: Tensor  # (B, T, H, J)
    final_cell: Tensor  # (B·H, P + T·K), -1 if unused; (B·H, 0) without final memory
    final_slot: Tensor  # (B·H, P + T·K)
    block: Tensor  # (T·K + 1,) sizes of the blocks: the bases, version 1, version 2, …
    base: Tensor  # (3, B·H·M): cell (-1: none), (sequence, head), segment; (3, 0) if bases are zero


def build(x: Inputs, memory_size: int, want_final: bool) -> Chains:
    B, T, H, K = x.write_index.shape
    J = x.read_index.shape[-1]
    P = x.given_cells
    events = plan.sort_events(x, memory_size)
    chain = (events.start.flatten().cumsum(0) - 1).view_as(events.order)
    end = plan.chain_ends(events.start)
    writes = events.version[end]  # (chains,)
    longest_first = writes.argsort(descending=True, stable=True)
    rank = torch.empty_like(longest_first)
    rank[longest_first] = torch.arange(len(rank), device=rank.device)
    count = torch.bincount(writes, minlength=1)
    at_least = count.flip(0).cumsum(0).flip(0)  # chains with v writes or more
    if not x.has_base:
        at_least[0] = 1  # one row of zeros is the base of all chains
    offset = at_least.cumsum(0) - at_least
    slot = offset[events.version] + rank[chain]
    if not x.has_base:
        slot = torch.where(events.version == 0, 0, slot)
    initial, write, read = plan.unsort(events, slot, (B, T, H, K, J), P)

    size = P + T * K if want_final else 0
    if want_final:
        last = plan.last_segment(x.reset, x.lengths, B)
        column = plan.final_columns(events, last, memory_size, P, size)
        final_cell, final_slot = plan.final_cells(events, slot, column, size)
    else:
        final_cell, final_slot = slot.new_zeros(B * H, 0), slot.new_zeros(B * H, 0)

    block = slot.new_zeros(T * K + 1)
    block[: len(at_least)] = at_least
    base = slot.new_zeros(3, slot.numel() if x.has_base else 0)
    if x.has_base:
        row = torch.arange(B * H, device=slot.device)[:, None].expand_as(slot)
        cell = torch.where(events.cell < memory_size, events.cell, -1)
        for i, values in enumerate((cell, row, events.segment)):
            base[i, : len(rank)] = values[events.start][longest_first]
    return Chains(initial, write, read, final_cell, final_slot, block, base)


def blocks(chains: Chains) -> list[tuple[slice, slice]]:
    """[(block v, the part of block v - 1 that it continues)] for v = 1, 2, …"""
    sizes = [n for n in chains.block.tolist() if n]
    pairs, before, at = [], 0, sizes[0] if sizes else 0
    for v, n in enumerate(sizes[1:], start=1):
        # Without bases, version 1 of every chain continues the row of zeros.
        m = 1 if v == 1 and chains.base.shape[1] == 0 else n
        pairs.append((slice(at, at + n), slice(before, before + m)))
        before, at = at, at + n
    return pairs


def by_slot(chains: Chains) -> Tensor:
    """(E,) the write, in the order (B, T, H, K), that made each version, in the order of slots."""
    first = chains.block[0]
    writes = chains.write_slot.flatten()
    return torch.empty_like(writes).scatter_(
        0, writes - first, torch.arange(len(writes), device=writes.device)
    )


def forward(gate: Tensor, candidate: Tensor, base: Tensor, chains: Chains, capacity: int) -> Tensor:
    """gate (B, T, H, K), candidate (B, T, H, D), base (bases, D) -> versions (capacity, D).

    The first bases + E rows are versions; the rows beyond are never touched.
    """
    D, K = candidate.shape[-1], gate.shape[-1]
    made = by_slot(chains)
    g = gate.flatten()[made].unsqueeze(-1)
    first = base.shape[0]
    versions = candidate.new_zeros(capacity, D)  # on a CPU, unused rows cost nothing
    versions[:first] = base
    if len(made):
        source = torch.div(made, K, rounding_mode="floor")
        made_rows = versions[first : first + len(made)]
        torch.index_select(candidate.reshape(-1, D), 0, source, out=made_rows)
    frozen = g == 0
    any_frozen = bool(frozen.any())
    for now, past in blocks(chains):
        part = slice(now.start - first, now.stop - first)
        torch.lerp(versions[past], versions[now], g[part], out=versions[now])
        if any_frozen:  # -0.0 + 0 is +0.0: a frozen cell keeps even the sign of a zero
            versions[now] = torch.where(frozen[part], versions[past], versions[now])
    return versions


def forward_differentiable(gate: Tensor, candidate: Tensor, base: Tensor, chains: Chains) -> Tensor:
    """The same by differentiable calls, for second derivatives."""
    D, K = candidate.shape[-1], gate.shape[-1]
    made = by_slot(chains)
    g = gate.flatten()[made].unsqueeze(-1)
    c = candidate.reshape(-1, D)[torch.div(made, K, rounding_mode="floor")]
    first = base.shape[0]
    versions = [base]
    for now, past in blocks(chains):
        part = slice(now.start - first, now.stop - first)
        versions.append(torch.lerp(versions[-1][: past.stop - past.start], c[part], g[part]))
    return torch.cat(versions)


def backward(
    grad: Tensor,  # of the versions, by reads and the final memory; overwritten
    gate: Tensor,  # (B, T, H, K)
    candidate: Tensor,  # (B, T, H, D)
    versions: Tensor,
    chains: Chains,
) -> tuple[Tensor, Tensor]:
    """-> gradients of gate and candidate; `grad` becomes the total gradient of each version."""
    D, K = candidate.shape[-1], gate.shape[-1]
    made = by_slot(chains)
    keep = 1 - gate.flatten()[made].unsqueeze(-1)
    first = int(chains.block[0])
    change = candidate.reshape(-1, D)[torch.div(made, K, rounding_mode="floor")]
    for now, past in reversed(blocks(chains)):
        part = slice(now.start - first, now.stop - first)
        change[part].sub_(versions[past])
        if past.stop - past.start == now.stop - now.start:
            grad[past].addcmul_(grad[now], keep[part])
        # otherwise `past` is the shared row of zeros, which has no gradient
    grad_gate = torch.empty_like(gate).flatten()
    grad_gate[made] = (grad[first : first + len(made)] * change).sum(-1)
    return grad_gate.view_as(gate), weighted_sum(grad, chains.write_slot, gate)
