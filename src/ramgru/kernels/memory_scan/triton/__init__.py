"""`memory_scan` by Triton kernels, forward and backward.

Storage in float32, bfloat16 or float16, computation in float32. Backward needs the versions of rows
that the writes made, O(T·K·D), and integers. No shape depends on data, so that the CPU never waits
for the GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import gpu
from ramgru.kernels.memory_scan import tag
from ramgru.kernels.memory_scan.inputs import Inputs, dense_final, empty_results, padding, widen
from ramgru.kernels.memory_scan.torch import untouched, untouched_gradients
from ramgru.kernels.memory_scan.triton import rows, scan, sums
from ramgru.kernels.memory_scan.triton.layout import Layout, build, empty_layout, given_rows
from ramgru.kernels.memory_scan.triton.step import step_

__all__ = ["SAVED", "backward", "empty_saved", "forward", "step_"]

SAVED = 1 + len(Layout._fields)  # tensors that forward saves for backward


def forward(x: Inputs, memory_size: int, want_final: bool) -> list[Tensor]:
    """-> outputs, final cells, final rows, and the tensors for backward: versions and layout"""
    outputs, cells, final_rows = empty_results(x, memory_size, want_final)
    x = _stored(x)
    with gpu.on_device_of(outputs):
        layout, final = build(x, memory_size, want_final)
        versions, table = _versions(x, layout)
        weight = x.read_weight
        if x.query is not None:
            seen = tag.weigh_reads(_of_reads(x), _tags(x, layout, table))
            weight, outputs[..., -1] = seen.weight, seen.share
        rows.read(layout.read, weight, x.values, outputs, table)
        if final is not None:
            if dense_final(x, memory_size):
                final_rows.copy_(untouched(_wide_bases(x), memory_size))
            else:
                cells = final.cell.view(cells.shape)
            rows.take(final.code, final.row, final_rows, table)
    return [outputs, cells, final_rows, versions, *layout]


def backward(
    x: Inputs,
    grad_output: Tensor,  # (B, T, H, D)
    grad_rows: Tensor | None,  # gradient of the final rows
    memory_size: int,
    saved: Sequence[Tensor],  # of another length if another path ran forward
) -> list[Tensor | None]:
    """-> gradients in the order of DIFFERENTIABLE; None for an input that is absent"""
    x = _stored(x)
    grad_output = grad_output.resolve_neg().contiguous()
    if grad_rows is not None:
        grad_rows = grad_rows.float().resolve_neg().contiguous()
    with gpu.on_device_of(grad_output):
        if len(saved) == SAVED:
            versions, layout = saved[0], Layout(*saved[1:])
            table = rows.tables(x, versions, layout.fresh)
        else:
            layout, _ = build(x, memory_size, grad_rows is not None)
            versions, table = _versions(x, layout)
        made, given = x.write_index.numel(), given_rows(x)
        D = x.candidate.shape[-1]
        adjoint = versions.new_empty(made + given + layout.fresh.numel(), D)
        rest = untouched_gradients(x, _where_untouched(x, layout, grad_rows, memory_size))
        initial = adjoint[made : made + given]
        if rest[0] is None:
            initial.zero_()
        else:
            initial.copy_(rest[0].view(given, D))
        grad_read = rows.read_gradients(layout.read, grad_output, x.values, table)
        weight, grad_tags = x.read_weight, None
        of_match: list[Tensor | None] = [None, None, None]
        if x.query is not None:
            held, wide, pad = _tags(x, layout, table), _of_reads(x), padding(x)
            seen = tag.weigh_reads(wide, held)
            grad_share = grad_output[..., -1].float()
            if pad is not None:
                grad_share = grad_share.masked_fill(pad.unsqueeze(-1), 0)
            grad_tags, grad_read, *of_match = tag.backward(seen, wide, held, grad_read, grad_share)
            weight = seen.weight
        read = x._replace(read_weight=weight)
        scan.backward(read, layout, grad_output, grad_tags, grad_rows, adjoint)
        writes = rows.write_gradients(x, layout, adjoint, table)
        fresh = _fresh_gradients(x, layout, adjoint[made + given :])
    grad_initial = None if x.initial_rows is None else initial.view_as(x.initial_rows).clone()
    fresh = [f if u is None or f is None else f + u for f, u in zip(fresh, rest[1:])]
    return [*writes, grad_read, grad_initial, *fresh, *of_match]


def empty_saved(x: Inputs, want_final: bool) -> list[Tensor]:
    """Uninitialised tensors like the ones that forward saves for backward."""
    versions = x.candidate.new_empty(
        x.write_index.numel(), x.candidate.shape[-1], dtype=torch.float32
    )
    return [versions, *empty_layout(x, want_final)]


def _stored(x: Inputs) -> Inputs:
    given = {name: v for name, v in x._asdict().items() if v is not None}
    return x._replace(**{name: v.resolve_neg().contiguous() for name, v in given.items()})


def _of_reads(x: Inputs) -> Inputs:
    return widen(x, ("read_weight", "query", "match", "null"))


def _tags(x: Inputs, layout: Layout, table: tuple[Any, ...]) -> Tensor:
    """(B, T, H, J, A) the tags of the rows that reads find"""
    return rows.tags(layout.read, x.values, x.tag_width, table)


def _wide_bases(x: Inputs) -> Inputs:
    names = ("initial_rows", "fresh_left", "fresh_right")
    given = {name: getattr(x, name) for name in names}
    return x._replace(**{name: v.float() for name, v in given.items() if v is not None})


def _versions(x: Inputs, layout: Layout) -> tuple[Tensor, tuple[Any, ...]]:
    """-> versions (B·T·H·K, D), and the tables that `rows_at` reads"""
    D = x.candidate.shape[-1]
    versions = x.candidate.new_empty(x.write_index.numel(), D, dtype=torch.float32)
    table = rows.tables(x, versions, layout.fresh)
    scan.forward(x, layout, table)
    return versions, table


def _where_untouched(
    x: Inputs, layout: Layout, grad_rows: Tensor | None, memory_size: int
) -> Tensor | None:
    """The gradient of a dense final memory, zero at the rows in which chains end."""
    based = x.initial_rows is not None or x.fresh_left is not None
    if grad_rows is None or not based or not dense_final(x, memory_size):
        return None
    B, H, N, _ = grad_rows.shape
    touched = torch.zeros(B * H * N + 1, dtype=torch.bool, device=grad_rows.device)
    where = torch.where(layout.final < 0, B * H * N, layout.final)
    touched.scatter_(0, where.flatten().long(), True)
    return grad_rows.masked_fill(touched[:-1].view(B, H, N, 1), 0)


def _fresh_gradients(x: Inputs, layout: Layout, adjoint: Tensor) -> list[Tensor | None]:
    """adjoint (R·M, D) of the fresh rows that chains begin with -> gradients of left and right"""
    if x.fresh_left is None or x.fresh_right is None:
        return [None, None]
    sets, left, _ = x.fresh_left.shape
    columns = x.fresh_right.shape[1]
    begins = layout.base.flatten() >= x.write_index.numel() + given_rows(x)
    cell = layout.fresh.flatten()
    grads: list[Tensor | None] = []
    for factor, key in (
        (x.fresh_left, cell // columns),
        (x.fresh_right, cell // (left * columns) * columns + cell % columns),
    ):
        number = sets * factor.shape[1]
        found = sums.sum_by_key(adjoint, torch.where(begins, key, number), number)
        grads.append(found.view_as(factor))
    return grads
