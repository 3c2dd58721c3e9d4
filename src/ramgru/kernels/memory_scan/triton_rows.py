"""Rows by their codes (`triton_order`), and what is made of them: reads and the final memory.

S = B·T·H steps of all sequences and heads; K writes and J reads a step; width D.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels.memory_scan import triton_order
from ramgru.kernels.memory_scan.inputs import Inputs

STEPS = 16  # steps, or rows, that one program handles
WIDTH = 64  # columns that it handles, at most

NONE = tl.constexpr(triton_order.NONE)


def width(D: int) -> int:
    """Columns of a program: 2 or more, for Triton does not compile a scan of a single one."""
    return min(WIDTH, max(2, triton.next_power_of_2(D)))


def tables(x: Inputs, versions: Tensor, fresh: Tensor) -> tuple[Any, ...]:
    """What `rows_at` finds rows in: the arguments that it, and all kernels, end with."""
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
        triton_order.given_rows(x),
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
    versions,
    initial,
    left,
    right,
    fresh,
    made,
    given,
    columns,
    sets,
    D,
    INITIAL: tl.constexpr,
    FRESH: tl.constexpr,
):
    """-> (E, W) float32; zeros for a code below 0 and behind the last column."""
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
    outputs,  # (S, D)
    S,
    versions,
    initial,
    left,
    right,
    fresh,
    made,
    given,
    columns,
    sets,
    D,
    INITIAL: tl.constexpr,
    FRESH: tl.constexpr,
    J: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
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
    mask = live[:, None] & (column < D)[None, :]
    tl.store(outputs + step[:, None] * D + column[None, :], total, mask=mask)


@triton.jit(do_not_specialize=["S", "made", "given"])
def dot_reads(
    codes,  # (S, J)
    grad_output,  # (S, D)
    grad_weight,  # (parts of the width, S, J)
    S,
    versions,
    initial,
    left,
    right,
    fresh,
    made,
    given,
    columns,
    sets,
    D,
    INITIAL: tl.constexpr,
    FRESH: tl.constexpr,
    J: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    step = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    part = tl.program_id(1).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    live = step < S
    for j in range(J):
        code = tl.load(codes + step * J + j, mask=live, other=NONE).to(tl.int64)
        read = code != NONE
        mask = read[:, None] & (column < D)[None, :]
        gy = tl.load(grad_output + step[:, None] * D + column[None, :], mask=mask, other=0.0)
        rows = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        found = tl.sum(gy.to(tl.float32) * rows, axis=1)
        tl.store(grad_weight + (part * S + step) * J + j, found, mask=live)


@triton.jit(do_not_specialize=["rows", "made", "given"])
def copy_rows(
    codes,  # (rows,)
    places,  # (rows,) or -1
    table,  # (any, D)
    rows,
    versions,
    initial,
    left,
    right,
    fresh,
    made,
    given,
    columns,
    sets,
    D,
    INITIAL: tl.constexpr,
    FRESH: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """table[places] = the rows of these codes"""
    item = tl.program_id(0).to(tl.int64) * STEPS + tl.arange(0, STEPS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    place = tl.load(places + item, mask=item < rows, other=NONE)
    code = tl.load(codes + item, mask=place >= 0, other=NONE)
    found = rows_at(
        code, column, versions, initial, left, right, fresh,
        made, given, columns, sets, D, INITIAL, FRESH,
    )  # fmt: skip
    mask = (place >= 0)[:, None] & (column < D)[None, :]
    tl.store(table + place[:, None] * D + column[None, :], found, mask=mask)


def read(codes: Tensor, weight: Tensor, outputs: Tensor, table: tuple[Any, ...]) -> None:
    """outputs (B, T, H, D) = sum_j weight[j] row of codes[j]; codes and weight (B, T, H, J)"""
    *steps, D = outputs.shape
    S = outputs[..., 0].numel()
    launch(sum_reads, S, D, codes, weight, outputs, S, *table, J=codes.shape[-1])


def read_gradients(codes: Tensor, grad_output: Tensor, table: tuple[Any, ...]) -> Tensor:
    """-> gradient of the read weights (B, T, H, J)"""
    D = grad_output.shape[-1]
    S = codes[..., 0].numel()
    found = grad_output.new_empty(triton.cdiv(D, width(D)), *codes.shape, dtype=torch.float32)
    launch(dot_reads, S, D, codes, grad_output, found, S, *table, J=codes.shape[-1])
    return found.sum(0)


def take(codes: Tensor, places: Tensor, rows: Tensor, table: tuple[Any, ...]) -> None:
    """rows (…, D) at `places`, which count them in order, become the rows of these codes."""
    items, D = codes.numel(), rows.shape[-1]
    launch(copy_rows, items, D, codes, places.contiguous(), rows, items, *table)


def launch(kernel: Any, items: int, D: int, *args: Any, **constants: Any) -> None:
    """A program for each STEPS items and WIDTH columns."""
    grid = (triton.cdiv(items, STEPS), triton.cdiv(D, width(D)))
    if all(grid):
        kernel[grid](*args, **constants, STEPS=STEPS, WIDTH=width(D), num_warps=4)
