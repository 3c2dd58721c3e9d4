"""`memory_scan` on a GPU: which kernel runs when, forward and backward.

Storage in any of float32, bfloat16 and float16, computed in float32. What is kept for backward are
the versions of rows that writes made, O(T·K·D), and integers; nothing waits for the GPU, for no
shape depends on data.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import gpu
from ramgru.kernels.memory_scan import (
    portable,
    triton_gru,
    triton_order,
    triton_rows,
    triton_scan,
    triton_sums,
)
from ramgru.kernels.memory_scan.inputs import Inputs, dense_final, empty_results
from ramgru.kernels.memory_scan.triton_order import Layout

SAVED = 1 + len(Layout._fields)  # tensors that forward keeps for backward


def forward(x: Inputs, memory_size: int, want_final: bool) -> list[Tensor]:
    """-> outputs, final cells, final rows, and what backward needs: versions and the layout"""
    outputs, cells, rows = empty_results(x, memory_size, want_final)
    x = _stored(x)
    with gpu.on_device_of(outputs):
        layout, final = triton_order.build(x, memory_size, want_final)
        versions, table = _versions(x, layout)
        triton_rows.read(layout.read, x.read_weight, outputs, table)
        if final is not None:
            if dense_final(x, memory_size):
                rows.copy_(portable.untouched(_wide_bases(x), memory_size))
            else:
                cells = final.cell.view(cells.shape)
            triton_rows.take(final.code, final.row, rows, table)
    return [outputs, cells, rows, versions, *layout]


def backward(
    x: Inputs,
    grad_output: Tensor,  # (B, T, H, D)
    grad_rows: Tensor | None,  # as the final rows, or None
    memory_size: int,
    saved: Sequence[Tensor],  # empty where another path ran forward
) -> list[Tensor | None]:
    """-> gradients in the order of DIFFERENTIABLE; None where there is no such input."""
    x = _stored(x)
    grad_output = grad_output.resolve_neg().contiguous()
    if grad_rows is not None:
        grad_rows = grad_rows.float().resolve_neg().contiguous()
    with gpu.on_device_of(grad_output):
        if saved:
            versions, layout = saved[0], Layout(*saved[1:])
            table = triton_rows.tables(x, versions, layout.fresh)
        else:
            layout, _ = triton_order.build(x, memory_size, grad_rows is not None)
            versions, table = _versions(x, layout)
        made, given = x.write_index.numel(), triton_order.given_rows(x)
        D = x.candidate.shape[-1]
        adjoint = versions.new_empty(made + given + layout.fresh.numel(), D)
        untouched = portable.untouched_gradients(
            x, _where_untouched(x, layout, grad_rows, memory_size)
        )
        initial = adjoint[made : made + given]
        if untouched[0] is None:
            initial.zero_()
        else:
            initial.copy_(untouched[0].view(given, D))
        triton_scan.backward(x, layout, grad_output, grad_rows, adjoint)
        writes = triton_gru.write_gradients(x, layout, adjoint, table)
        grad_read = triton_rows.read_gradients(layout.read, grad_output, table)
        fresh = _fresh_gradients(x, layout, adjoint[made + given :])
    grad_initial = None if x.initial_rows is None else initial.view_as(x.initial_rows).clone()
    fresh = [f if u is None or f is None else f + u for f, u in zip(fresh, untouched[1:])]
    return [*writes, grad_read, grad_initial, *fresh]


def empty_saved(x: Inputs, want_final: bool) -> list[Tensor]:
    """What forward keeps for backward, with nothing in it."""
    versions = x.candidate.new_empty(
        x.write_index.numel(), x.candidate.shape[-1], dtype=torch.float32
    )
    return [versions, *triton_order.empty_layout(x, want_final)]


def _stored(x: Inputs) -> Inputs:
    given = {name: v for name, v in x._asdict().items() if v is not None}
    return x._replace(**{name: v.resolve_neg().contiguous() for name, v in given.items()})


def _wide_bases(x: Inputs) -> Inputs:
    names = ("initial_rows", "fresh_left", "fresh_right")
    given = {name: getattr(x, name) for name in names}
    return x._replace(**{name: v.float() for name, v in given.items() if v is not None})


def _versions(x: Inputs, layout: Layout) -> tuple[Tensor, tuple[Any, ...]]:
    """-> versions (B·T·H·K, D), and the table that finds rows among them and their bases"""
    D = x.candidate.shape[-1]
    versions = x.candidate.new_empty(x.write_index.numel(), D, dtype=torch.float32)
    table = triton_rows.tables(x, versions, layout.fresh)
    triton_scan.forward(x, layout, table)
    return versions, table


def _where_untouched(
    x: Inputs, layout: Layout, grad_rows: Tensor | None, memory_size: int
) -> Tensor | None:
    """Gradients of a final memory with all rows, zero at those that chains end in."""
    based = x.initial_rows is not None or x.fresh_left is not None
    if grad_rows is None or not based or not dense_final(x, memory_size):
        return None
    B, H, N, _ = grad_rows.shape
    touched = torch.zeros(B * H * N + 1, dtype=torch.bool, device=grad_rows.device)
    where = torch.where(layout.final < 0, B * H * N, layout.final)
    touched.scatter_(0, where.flatten().long(), True)
    return grad_rows.masked_fill(touched[:-1].view(B, H, N, 1), 0)


def _fresh_gradients(x: Inputs, layout: Layout, rows: Tensor) -> list[Tensor | None]:
    """rows (R·M, D), the adjoints of fresh rows where a chain begins with one -> left, right"""
    if x.fresh_left is None or x.fresh_right is None:
        return [None, None]
    sets, left, _ = x.fresh_left.shape
    columns = x.fresh_right.shape[1]
    begins = layout.base.flatten() >= x.write_index.numel() + triton_order.given_rows(x)
    cell = layout.fresh.flatten()
    grads: list[Tensor | None] = []
    for factor, key in (
        (x.fresh_left, cell // columns),
        (x.fresh_right, cell // (left * columns) * columns + cell % columns),
    ):
        number = sets * factor.shape[1]
        found = triton_sums.sum_by_key(rows, torch.where(begins, key, number), number)
        grads.append(found.view_as(factor))
    return grads
