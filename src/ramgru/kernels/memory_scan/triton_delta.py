"""The delta rule on a GPU, forward: a program walks the chunks of a (sequence, head).

u = z (c - sum_k a[k] m[k]), m'[k] = m[k] + total[k] u, where total is the weight that an address's
cell gets from the whole step. What of this involves no rows, `triton_overlap` has computed for all
chunks at once; what is left to walk are T / CHUNK rounds of gather, two products and a store. The
columns of a row do not depend on each other, so that programs share them out. Rows are versions in
a table (`triton_order`): each step writes rows of its own, and a barrier stands between what one
chunk writes and the next one reads.

Source: the chunks of DeltaNet, arXiv 2406.06484, here with rows of a table in place of a matrix.
R = B·H sequences and heads; S = B·T·H steps; K writes a step; C steps a chunk; width D.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from ramgru.kernels.memory_scan import triton_order
from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.triton_order import Layout
from ramgru.kernels.memory_scan.triton_overlap import overlaps, product, spoilt, steps_of
from ramgru.kernels.memory_scan.triton_rows import NONE, rows_at

WIDTH = 16  # columns of a program: few, for chunks are walked and only programs run side by side
WRITES = 4  # writes of each of a chunk's steps that it handles at once, at most
# Registers of a thread, at most: left alone, NVIDIA's assembler would spill a few of them to fit
# one program more on a processor. AMD's compiler has no such option.
REGISTERS = {} if torch.version.hip else {"maxnreg": 224}


@triton.jit
def writes_of(chunk, row, first, T, H, K, CHUNK: tl.constexpr, WRITES: tl.constexpr):
    """WRITES writes of each step of a chunk, from number `first` on, step after step.

    -> (E,) which step of the chunk, the place among all S·K writes, that among the chunk's C·K, and
    whether there is such a write
    """
    e = tl.arange(0, CHUNK * WRITES)
    t = e // WRITES
    k = first + e % WRITES
    start = (row // H * T + chunk * CHUNK) * H + row % H
    return t, (start + t * H) * K + k, t * K + k, (chunk * CHUNK + t < T) & (k < K)


@triton.jit
def shares_at(shares, item, own, mask, K, CHUNK: tl.constexpr):
    """(E, C) the shares of writes `own` of a chunk, which is number `item` of all chunks"""
    chunk = shares + item * CHUNK * K * CHUNK
    at = own[:, None] * CHUNK + tl.arange(0, CHUNK)[None, :]
    return tl.load(chunk + at, mask=mask, other=0.0)


@triton.jit
def of_steps(rows, CHUNK: tl.constexpr, WRITES: tl.constexpr, WIDTH: tl.constexpr):
    """(E, W) rows of writes -> (C, W) their sums over the writes of each step"""
    return tl.sum(tl.reshape(rows, [CHUNK, WRITES, WIDTH]), axis=1)


@triton.jit
def errors(
    codes,  # (S, K) of the rows that the writes are told to find
    weight,  # (S, K)
    candidate,  # (S, D)
    chunk,
    row,
    column,
    T,
    H,
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
    K: tl.constexpr,
    CHUNK: tl.constexpr,
    WRITES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """(C, W) c - sum_k a[k] m[k]; 0 for steps that do not count"""
    held = tl.zeros([CHUNK, WIDTH], tl.float32)
    counts = tl.zeros([CHUNK], tl.int32)
    for first in range(0, K, WRITES):
        _, place, _, there = writes_of(chunk, row, first, T, H, K, CHUNK, WRITES)
        code = tl.load(codes + place, mask=there, other=NONE).to(tl.int64)
        a = tl.load(weight + place, mask=code != NONE, other=0.0).to(tl.float32)
        rows = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        held += of_steps(a[:, None] * rows, CHUNK, WRITES, WIDTH)
        counts += tl.sum(tl.reshape((code != NONE).to(tl.int32), [CHUNK, WRITES]), axis=1)
    step, _ = steps_of(chunk, row, T, H, CHUNK)
    mask = (counts > 0)[:, None] & (column < D)[None, :]
    c = tl.load(candidate + step[:, None] * D + column[None, :], mask=mask, other=0.0)
    return c.to(tl.float32) - held


@triton.jit(do_not_specialize=["T", "H", "made", "given"])
def walk(
    codes,  # (S, K) of the rows before the chunk
    weight,  # (S, K)
    candidate,  # (S, D)
    shares,  # (R, chunks, C, K, C)
    response,  # (R, chunks, C, C)
    T,
    H,
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
    K: tl.constexpr,
    CHUNK: tl.constexpr,
    WRITES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    chunks = tl.cdiv(T, CHUNK)
    t, s = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    chunk = 0
    while chunk < chunks:
        error = errors(
            codes, weight, candidate, chunk, row, column, T, H,
            versions, initial, left, right, fresh, made, given, columns, sets, D,
            INITIAL, FRESH, K, CHUNK, WRITES, WIDTH,
        )  # fmt: skip
        solve = tl.load(response + ((row * chunks + chunk) * CHUNK + t) * CHUNK + s)
        u = product(solve, error, spoilt(error))
        any_spoilt = spoilt(u)
        for first in range(0, K, WRITES):
            at, place, own, there = writes_of(chunk, row, first, T, H, K, CHUNK, WRITES)
            code = tl.load(codes + place, mask=there, other=NONE).to(tl.int64)
            held = rows_at(
                code, column, versions, initial, left, right, fresh,
                made, given, columns, sets, D, INITIAL, FRESH,
            )  # fmt: skip
            mask = there[:, None] & (s <= at[:, None])
            share = shares_at(shares, row * chunks + chunk, own, mask, K, CHUNK)
            change = product(share, u, any_spoilt)
            changes = tl.max(tl.where(share == 0, 0, 1), axis=1) > 0  # else every bit stays
            now = tl.where(changes[:, None], held + change, held)
            mask = there[:, None] & (column < D)[None, :]
            tl.store(versions + place[:, None] * D + column[None, :], now, mask=mask)
        tl.debug_barrier()
        chunk += 1


def parts(D: int) -> int:
    """Programs that share out the columns of a row."""
    return triton.cdiv(D, WIDTH)


def launch(kernel: Any, x: Inputs, items: int, *args: Any) -> None:
    """A program for each item and part of the width."""
    K, D = x.write_index.shape[-1], x.candidate.shape[-1]
    grid = (items, parts(D))
    writes = min(WRITES, triton.next_power_of_2(K))
    sizes = {"K": K, "CHUNK": triton_order.CHUNK, "WRITES": writes, "WIDTH": WIDTH}
    if all(grid) and x.write_index.shape[1]:
        # One stage: no load may be moved to before the store of an earlier turn of a loop.
        kernel[grid](*args, **sizes, num_warps=2 * writes, num_stages=1, **REGISTERS)


def forward(x: Inputs, layout: Layout, table: tuple[Any, ...]) -> None:
    """Fills the table's versions (B·T·H·K, D)."""
    B, T, H, _ = x.write_index.shape
    given = (layout.chunk_base, x.write_weight, x.candidate)
    launch(walk, x, B * H, *given, *overlaps(x, layout), T, H, *table)
