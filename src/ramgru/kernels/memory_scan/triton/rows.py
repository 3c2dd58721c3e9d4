"""Rows by their codes (`layout`): reads, the final memory, and the gradients of reads and writes.

S = B·T·H steps of all sequences and heads; K writes and J reads a step; width D.
"""

# Triton types the arguments of its kernels.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.triton import layout
from ramgru.kernels.memory_scan.triton.layout import Layout

STEPS = 16  # steps or rows of one program
WIDTH = 64  # columns of one program, at most

NONE = tl.constexpr(layout.NONE)


def width(D: int) -> int:
    """Columns of a program: at least 2, because Triton does not compile a scan of one column."""
    return min(WIDTH, max(2, triton.next_power_of_2(D)))


def tables(x: Inputs, versions: Tensor, fresh: Tensor) -> tuple[Any, ...]:
    """The tables of rows: the last arguments of `rows_at` and of every kernel."""
    none = versions
    columns = sets = 1
    if x.fresh_left is not None and x.fresh_right is not None:
        columns = x.fresh_right.shape[1]
        sets = columns * x.fresh_left.shape[1]
    return (
        versions,
        none if x.initial_rows is None else x.initial_rows,
        none if x.fresh_left is None else x.fresh_left,
        none if x.fresh_right is None else x.fresh_right,
        fresh,
        x.write_index.numel(),
        layout.given_rows(x),
        columns,
        sets,
        versions.shape[1],
        x.initial_rows is not None,
        x.fresh_left is not None,
    )


@triton.jit
def rows_at(
    code,  # (E,) int64
    column,  # (W,)
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr,
):  # fmt: skip
    """-> (E, W) float32; zeros for a code below 0 and beyond the last column."""
    inside = (column < D)[None, :]
    at = column[None, :]
    mine = ((code >= 0) & (code < made))[:, None]
    rows = tl.load(versions + code[:, None] * D + at, mask=mine & inside, other=0.0)
    if INITIAL:
        row = (code - made)[:, None]
        mine = (row >= 0) & (row < given)
        held = tl.load(initial + row * D + at, mask=mine & inside, other=0.0).to(tl.float32)
        rows = tl.where(mine, held, rows)
    if FRESH:
        event = code - made - given
        cell = tl.load(fresh + event, mask=event >= 0, other=0)
        mine = (event >= 0)[:, None]
        first = (cell // columns)[:, None] * D + at
        second = (cell // sets * columns + cell % columns)[:, None] * D + at
        held = tl.load(left + first, mask=mine & inside, other=0.0).to(tl.float32)
        held += tl.load(right + second, mask=mine & inside, other=0.0).to(tl.float32)
        rows = tl.where(mine, held, rows)
    return rows


@triton.jit(do_not_specialize=["S", "made", "given"])
def sum_reads(
    codes,  # (S, J)
    weight,  # (S, J)
    outputs,  # (S, stride): the first `values` are written
    S, values, stride,
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr, J: tl.constexpr, STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    step = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    live = step < S
    total = tl.zeros([STEPS, WIDTH], tl.float32)
    for j in range(J):
        code = tl.load(codes + step * J + j, mask=live, other=NONE).to(tl.int64)
        r = tl.load(weight + step * J + j, mask=code != NONE, other=0.0).to(tl.float32)
        rows = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        total += r[:, None] * rows
    mask = live[:, None] & (column < values)[None, :]
    tl.store(outputs + step[:, None] * stride + column[None, :], total, mask=mask)


@triton.jit(do_not_specialize=["S", "made", "given"])
def dot_reads(
    codes,  # (S, J)
    grad_output,  # (S, stride): the first `values` count
    grad_weight,  # (parts of the width, S, J)
    S, values, stride,
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr, J: tl.constexpr, STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    step = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    part = tl.program_id(1).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    live = step < S
    for j in range(J):
        code = tl.load(codes + step * J + j, mask=live, other=NONE).to(tl.int64)
        read = code != NONE
        mask = read[:, None] & (column < values)[None, :]
        gy = tl.load(grad_output + step[:, None] * stride + column[None, :], mask=mask, other=0.0)
        rows = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        found = tl.sum(gy.to(tl.float32) * rows, axis=1)
        tl.store(grad_weight + (part * S + step) * J + j, found, mask=live)


@triton.jit(do_not_specialize=["S", "made", "given"])
def dot_writes(
    codes,  # (S, K) the row that each write finds
    weight,  # (S, K)
    gate,  # (S,)
    candidate,  # (S, D)
    adjoint,  # (S·K and more, D)
    grad_weight,  # (parts of the width, S, K)
    grad_gate,  # (parts of the width, S)
    grad_candidate,  # (S, D)
    S,
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr, K: tl.constexpr, STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):  # fmt: skip
    """Version m = (1 - g) m' + g c with g = weight · gate: from adjoints of m, all gradients."""
    step = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    part = tl.program_id(1).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]
    at = step[:, None] * D + column[None, :]
    live = step < S
    total = tl.zeros([STEPS, WIDTH], tl.float32)
    dz = tl.zeros([STEPS], tl.float32)
    for k in range(K):
        code = tl.load(codes + step * K + k, mask=live, other=NONE).to(tl.int64)
        writes = code != NONE
        w = tl.load(weight + step * K + k, mask=writes, other=0.0).to(tl.float32)
        z = tl.load(gate + step, mask=writes, other=0.0).to(tl.float32)
        mask = writes[:, None] & inside
        c = tl.load(candidate + at, mask=mask, other=0.0).to(tl.float32)
        rows = (step * K + k)[:, None] * D + column[None, :]
        dm = tl.load(adjoint + rows, mask=mask, other=0.0)
        held = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        total += (w * z)[:, None] * dm
        share = tl.sum(dm * (c - held), axis=1)
        dz += share * w
        tl.store(grad_weight + (part * S + step) * K + k, share * z, mask=live)
    tl.store(grad_gate + part * S + step, dz, mask=live)
    tl.store(grad_candidate + at, total, mask=live[:, None] & inside)


@triton.jit(do_not_specialize=["rows", "made", "given"])
def copy_rows(
    codes,  # (rows,)
    places,  # (rows,) or -1
    table,  # (any, size)
    rows, first, size,
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr, STEPS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    """table[places] = the columns first .. first + size - 1 of the rows of the codes"""
    item = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    place = tl.load(places + item, mask=item < rows, other=NONE)
    code = tl.load(codes + item, mask=place >= 0, other=NONE).to(tl.int64)
    found = rows_at(
        code, first + column, versions, initial, left, right, fresh,
        made, given, columns, sets, D, INITIAL, FRESH,
    )  # fmt: skip
    mask = (place >= 0)[:, None] & (column < size)[None, :]
    tl.store(table + place[:, None] * size + column[None, :], found, mask=mask)


def read(
    codes: Tensor, weight: Tensor, values: int, outputs: Tensor, table: tuple[Any, ...]
) -> None:
    """outputs[..., :values] = sum_j weight[j] row of codes[j]; codes and weight (B, T, H, J)"""
    S, stride = codes[..., 0].numel(), outputs.shape[-1]
    given = (codes, weight, outputs, S, values, stride)
    launch(sum_reads, S, values, *given, *table, J=codes.shape[-1])


def tags(codes: Tensor, first: int, width: int, table: tuple[Any, ...]) -> Tensor:
    """codes (B, T, H, J) -> (B, T, H, J, width): the columns from `first` on of their rows"""
    found = codes.new_empty(*codes.shape, width, dtype=torch.float32)
    take(codes, torch.arange(codes.numel(), device=codes.device), found, table, first)
    return found


def read_gradients(
    codes: Tensor, grad_output: Tensor, values: int, table: tuple[Any, ...]
) -> Tensor:
    """-> gradient of the read weights (B, T, H, J) by the first `values` of each output"""
    S, stride = codes[..., 0].numel(), grad_output.shape[-1]
    parts = triton.cdiv(values, width(values))
    found = grad_output.new_empty(parts, *codes.shape, dtype=torch.float32)
    given = (codes, grad_output, found, S, values, stride)
    launch(dot_reads, S, values, *given, *table, J=codes.shape[-1])
    return found.sum(0)


def write_gradients(
    x: Inputs, layout: Layout, adjoint: Tensor, table: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """-> gradients of weight, gate and candidate, float32"""
    codes, D = layout.write, x.candidate.shape[-1]
    S, K = x.gate.numel(), codes.shape[-1]
    parts = triton.cdiv(D, width(D))
    grad_weight = adjoint.new_empty(parts, *codes.shape)
    grad_gate = adjoint.new_empty(parts, *x.gate.shape)
    grad_candidate = torch.empty_like(x.candidate, dtype=torch.float32)
    given = (codes, x.write_weight, x.gate, x.candidate, adjoint)
    launch(dot_writes, S, D, *given, grad_weight, grad_gate, grad_candidate, S, *table, K=K)
    return grad_weight.sum(0), grad_gate.sum(0), grad_candidate


def take(
    codes: Tensor, places: Tensor, rows: Tensor, table: tuple[Any, ...], first: int = 0
) -> None:
    """Copy the rows of the codes to `places`, which count the rows (…, size) in order.

    Of each, the columns from `first` on.
    """
    items, size = codes.numel(), rows.shape[-1]
    given = (codes, places.contiguous(), rows, items, first, size)
    launch(copy_rows, items, size, *given, *table)


def launch(kernel: Any, items: int, D: int, *args: Any, **constants: Any) -> None:
    """Launch a program for each STEPS items and WIDTH columns."""
    grid = (triton.cdiv(items, STEPS), triton.cdiv(D, width(D)))
    if all(grid):
        kernel[grid](*args, **constants, STEPS=STEPS, WIDTH=width(D), num_warps=4)
