"""One step of a memory whose rows are all present, in place: the form that streams use.

B sequences, H heads, N cells of width D, K writes and J reads.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.memory_scan import cpu
from ramgru.kernels.memory_scan.operator import OPERATION
from ramgru.kernels.memory_scan.tag import Tag, weigh


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
    query: Tensor | None = None,  # (B, H, A), match and null (H,): tagged reads, all or none
    match: Tensor | None = None,
    null: Tensor | None = None,
    distinct: bool = False,  # whether the step names no cell twice in its writes
) -> Tensor:
    """-> what each head reads after its writes, as `memory_scan`'s outputs; not differentiable"""
    values = (v.to(rows.dtype) for v in (write_weight, gate, candidate, read_weight))
    weight, gate, candidate, read_weight = values
    tag = _tag(query, match, null)
    tag = tag and Tag(*(v.to(rows.dtype) for v in tag))
    given = (rows, write_index, weight, gate, candidate, read_index, read_weight)
    if rows.is_cpu and torch.compiler.is_compiling():
        # One operator that overwrites, or compilers copy the table around several that do.
        return torch.ops.ramgru.memory_step_(*given, *(tag or (None, None, None)))
    return _step_(given, tag, distinct)


@torch.library.custom_op(
    "ramgru::memory_step_",
    mutates_args=("rows",),
    schema=(  # an argument named `match` would be taken for one of Inductor's own
        "(Tensor(a!) rows, Tensor write_index, Tensor write_weight, Tensor gate, Tensor candidate, "
        "Tensor read_index, Tensor read_weight, Tensor? query, Tensor? match_weight, Tensor? null) "
        "-> Tensor"
    ),
)
def memory_step_op(*args: Any) -> Tensor:
    """`step_` in a graph, with tensors of one dtype."""
    return _step_(args[:7], _tag(*args[7:]), False, in_operator=True)


@memory_step_op.register_fake
def _(*args: Any) -> Tensor:
    rows, query = args[0], args[7]
    B, H, _, D = rows.shape
    return rows.new_empty(B, H, D if query is None else D - query.shape[-1] + 1)


def _tag(query: Tensor | None, match: Tensor | None, null: Tensor | None) -> Tag | None:
    return None if query is None or match is None or null is None else Tag(query, match, null)


# The tensors of `step_` up to read_weight, all of one dtype.
Given = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


def _step_(given: Given, tag: Tag | None, distinct: bool, in_operator: bool = False) -> Tensor:
    path = OPERATION.choose(*given, in_operator=in_operator).path
    if path == dispatch.TRITON:
        from ramgru.kernels.memory_scan import triton  # needs the package triton

        return triton.step_(*given, tag)
    return cpu.step_(*given, tag) if path == dispatch.CPU else _portable_(*given, tag, distinct)


def _portable_(
    rows: Tensor,
    write_index: Tensor,
    write_weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    read_index: Tensor,
    read_weight: Tensor,
    tag: Tag | None,
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
        new = torch.where(g == 0, held, new)  # a frozen row keeps even the sign of a zero
        table.index_copy_(0, some.flatten(), new.flatten(0, 1))
    found = table[read_index.clamp_min(0) + first]
    found = found.masked_fill((read_index < 0).unsqueeze(-1), 0)
    r = read_weight.masked_fill(read_index < 0, 0)
    if tag is None:
        return (r.unsqueeze(-2) @ found).squeeze(-2)
    A = tag.query.shape[-1]
    found, tags = found.split([D - A, A], dim=-1)
    tag = tag._replace(query=tag.query.unsqueeze(1))  # a sequence of one step
    seen = weigh(tags.unsqueeze(1), r.unsqueeze(1), tag, (read_index >= 0).unsqueeze(1))
    y = (seen.weight[:, 0].unsqueeze(-2) @ found).squeeze(-2)
    return torch.cat([y, seen.share[:, 0].unsqueeze(-1)], dim=-1)
