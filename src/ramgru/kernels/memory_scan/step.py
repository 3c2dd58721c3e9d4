"""One step of a memory whose rows are all there, in place: the form that streams take.

B sequences, H heads, N cells of width D, K writes and J reads.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels import gpu, native
from ramgru.kernels.fused import is_plain
from ramgru.kernels.memory_scan import native as native_scan


@torch.no_grad()
def step_(
    rows: Tensor,  # (B, H, N, D) float32 or wider, contiguous; K rows a head are overwritten
    write_index: Tensor,  # (B, H, K), -1: no access
    write_weight: Tensor,  # (B, H, K)
    gate: Tensor,  # (B, H)
    candidate: Tensor,  # (B, H, D)
    read_index: Tensor,  # (B, H, J), -1: no access
    read_weight: Tensor,  # (B, H, J)
    *,
    distinct: bool = False,  # whether no step writes one cell twice
) -> Tensor:
    """-> what each head reads after it has written (B, H, D); not differentiable"""
    values = (v.to(rows.dtype) for v in (write_weight, gate, candidate, read_weight))
    weight, gate, candidate, read_weight = values
    given = (rows, write_index, weight, gate, candidate, read_index, read_weight)
    if is_plain() and gpu.takes(*given) and native.are_plain(*given):
        from ramgru.kernels.memory_scan import triton_step  # imports triton: where it is used only

        return triton_step.step_(*given)
    if is_plain() and native.runs(*given):
        return native_scan.step_(*given)
    return _portable_(*given, distinct)


def _portable_(
    rows: Tensor,
    write_index: Tensor,
    write_weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    read_index: Tensor,
    read_weight: Tensor,
    distinct: bool,
) -> Tensor:
    B, H, N, D = rows.shape
    table = rows.view(B * H * N, D)
    first = (torch.arange(B * H, device=rows.device) * N).view(B, H, 1)
    write = (write_index.clamp_min(0) + first).flatten(0, 1)  # (B·H, K)
    weight = write_weight.masked_fill(write_index < 0, 0)
    a, z, c = (v.flatten(0, 1) for v in (weight, gate, candidate))
    group = write.shape[1] if distinct else 1
    for some, part in zip(write.split(group, 1), a.split(group, 1), strict=True):
        g = (part * z[:, None]).unsqueeze(-1)
        held = table[some]
        new = torch.lerp(held, c[:, None].expand_as(held), g)
        new = torch.where(g == 0, held, new)  # even the sign of a zero
        table.index_copy_(0, some.flatten(), new.flatten(0, 1))
    found = table[read_index.clamp_min(0) + first]
    found = found.masked_fill((read_index < 0).unsqueeze(-1), 0)
    r = read_weight.masked_fill(read_index < 0, 0)
    return (r.unsqueeze(-2) @ found).squeeze(-2)
