"""Sums of rows by key in a fixed order: the gradients of the fresh memory's factors.

Rows are sorted by key. The sum of a key is a chain of m -> m + row, scanned as in `scan`.
Q rows of width D.
"""

# Triton types the arguments of its kernels.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels.memory_scan.triton.scan import START, Blocks, compose, from_before, store_block


@triton.jit
def neighbours(keys, q, Q):
    """-> the key of sorted row q, whether the row before has it too, whether row q is its last"""
    key = tl.load(keys + q, mask=q < Q, other=-1)
    before = tl.load(keys + q - 1, mask=(q > 0) & (q < Q), other=-1)
    behind = tl.load(keys + q + 1, mask=q + 1 < Q, other=-1)
    return key, key == before, (q < Q) & (key != behind)


@triton.jit(do_not_specialize=["Q", "number"])
def sum_blocks(
    keys,  # (Q,) ascending; rows with keys of `number` and above are left out
    order,  # (Q,) the place of each sorted row
    rows,  # (Q, D)
    sums,  # (number, D)
    blocks_a,  # (blocks,)
    blocks_b,  # (blocks, D)
    Q, number, D,
    EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    q = item * EVENTS + tl.arange(0, EVENTS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]
    key, follows, last = neighbours(keys, q, Q)
    counts = (q < Q) & (key < number)
    row = tl.load(order + q, mask=counts, other=0)
    mask = counts[:, None] & inside
    b = tl.load(rows + row[:, None] * D + column[None, :], mask=mask, other=0.0)
    a = tl.where(follows, 1.0, START)[:, None] + tl.zeros([EVENTS, WIDTH], tl.float32)
    a, b = tl.associative_scan((a, b), 0, compose)
    at = sums + key[:, None] * D + column[None, :]
    tl.store(at, b, mask=(last & counts)[:, None] & inside)
    store_block(a, b, column, blocks_a, blocks_b, item, D, EVENTS)


@triton.jit(do_not_specialize=["Q", "number"])
def finish_sums(
    keys,
    blocks_b,  # the row that each block ends with
    sums, Q, number, D,
    EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    q = item * EVENTS + tl.arange(0, EVENTS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < D
    key, follows, last = neighbours(keys, q, Q)
    _, any_left = from_before(tl.where(follows, 1.0, START))
    before = tl.load(blocks_b + (item - 1) * D + column, mask=inside & (item > 0), other=0.0)
    mask = (last & (key < number) & any_left & (item > 0))[:, None] & inside[None, :]
    at = sums + key[:, None] * D + column[None, :]
    tl.store(at, tl.load(at, mask=mask, other=0.0) + before[None, :], mask=mask)


def sum_by_key(rows: Tensor, key: Tensor, number: int) -> Tensor:
    """rows (Q, D), key (Q,) -> (number, D); rows with the key `number` are not read."""
    Q, D = rows.shape
    keys, order = key.sort(stable=True)
    sums = rows.new_zeros(number, D)
    blocks = Blocks(keys.unsqueeze(0), rows)
    blocks.run(sum_blocks, keys, order, rows, sums, blocks.a, blocks.b, Q, number, D)
    if blocks.carry():
        blocks.run(finish_sums, keys, blocks.b, sums, Q, number, D)
    return sums
