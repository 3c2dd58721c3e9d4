"""Chains as affine maps of rows, m -> a m + b, scanned in blocks of sorted events.

    1. scan each block alone: the row after each event, as if the block began with nothing
    2. scan the ends of the blocks, 32 blocks a round: the row that each block begins with
    3. add that row, scaled, to the block's rows up to the block's first start of a chain

A chain of a million events takes a thousand rounds of step 2, and no sum runs from one chain into
the next. Forward scans the writes in order of time. Backward scans the adjoints of rows from the
last event to the first, and every read adds its part. A gate of 0 is the map (1, -0.0), which
changes no bit: x + -0.0 is x, also for x = -0.0.

Source: the segmented scan of Blelloch, "Prefix Sums and Their Applications", 1990, of pairs (a, b).
R = B·H sequences and heads of M events each; S = B·T·H steps; other letters as in `plan`.
Arguments: order and base (R, M), weight and read_weight (S, K) and (S, J), gate (S,), candidate
(S, D), grad_output (S, stride), of which the first `values` count, grad_rows (final rows, D); the
rest as in `rows_at`.
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
from ramgru.kernels.memory_scan.triton import layout as codes
from ramgru.kernels.memory_scan.triton.layout import Layout
from ramgru.kernels.memory_scan.triton.rows import rows_at, width

EVENTS = 32  # sorted events of a block

NONE = tl.constexpr(codes.NONE)
CONTINUES = tl.constexpr(codes.CONTINUES)
START = tl.constexpr(2.0)  # the factor of a map that ignores the row before it
SIZES = ["M", "T", "H", "K", "J", "P", "made", "given"]  # new values compile no new kernel


@triton.jit
def compose(a1, b1, a2, b2):
    """First m -> a1 m + b1, then m -> a2 m + b2. Only a START drops the row before.

    A factor of 0 does not, because 0 times inf is NaN. Factors are at most 1.5.
    """
    starts = a2 > 1.5
    return tl.where(starts | (a1 > 1.5), START, a1 * a2), tl.where(starts, b2, a2 * b1 + b2)


@triton.jit
def from_before(a):
    """(E,) factors -> the share of the block's first row left at each event, and if any is left"""
    starts = a > 1.5
    return tl.cumprod(tl.where(starts, 0.0, a), 0), tl.cumsum(starts.to(tl.int32), 0) == 0


@triton.jit
def minus_zero():
    """-0.0, from its bits: Triton takes the literal -0.0 for 0.0."""
    return tl.full([1, 1], -0x80000000, tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def event(order, base, row, e, M, T, H, K, J, P):
    """Sorted events e of a row -> is each a write, is it a read, its step, its number, its start"""
    live = (e >= 0) & (e < M)
    start = tl.load(base + row * M + e, mask=live, other=NONE).to(tl.int64)
    live = live & (start != NONE)
    place = tl.load(order + row * M + e, mask=live, other=0).to(tl.int64) - P
    number = place % (K + J)
    step = (row // H * T + place // (K + J)) * H + row % H
    counts = live & (place >= 0)
    return counts & (number < K), counts & (number >= K), step, number, start


@triton.jit
def gate_of(write, step, number, weight, gate, K):
    """The share g of the candidate in the row that each write makes; 0 for other events."""
    w = tl.load(weight + step * K + number, mask=write, other=0.0).to(tl.float32)
    z = tl.load(gate + step, mask=write, other=0.0).to(tl.float32)
    return w * z


@triton.jit
def kept(write, step, number, start, weight, gate, K):
    """The share of a row (or an adjoint behind it) that an event keeps; START for a new chain."""
    g = gate_of(write, step, number, weight, gate, K)
    return tl.where(start == CONTINUES, 1 - g, START)


@triton.jit
def read_adjoint(
    read, step, number, column, read_weight, grad_output, grad_tags, K, J, values, stride,
    TAG: tl.constexpr,
):  # fmt: skip
    """(E, W) what each read adds to the adjoint of the row that it finds"""
    item = step * J + number - K
    r = tl.load(read_weight + item, mask=read, other=0.0).to(tl.float32)
    mask = read[:, None] & (column < values)[None, :]
    gy = tl.load(grad_output + step[:, None] * stride + column[None, :], mask=mask, other=0.0)
    b = r[:, None] * gy.to(tl.float32)
    if TAG:
        mask = read[:, None] & ((column >= values) & (column < values + TAG))[None, :]
        at = item[:, None] * TAG + (column - values)[None, :]
        b += tl.load(grad_tags + at, mask=mask, other=0.0)
    return b


@triton.jit
def store_block(a, b, column, blocks_a, blocks_b, item, D, EVENTS: tl.constexpr):
    """The map of a whole block: the map after its last event."""
    last = (tl.arange(0, EVENTS) == EVENTS - 1)[:, None]
    at = column[None, :] + tl.zeros([EVENTS, 1], tl.int64)
    tl.store(blocks_b + item * D + at, b, mask=last & (at < D))
    tl.store(blocks_a + item + at * 0, a, mask=last & (at == 0))


@triton.jit(do_not_specialize=SIZES)
def scan_writes(
    order, base, weight, gate, candidate,
    blocks_a,  # (R, blocks)
    blocks_b,  # (R, blocks, D)
    M, T, H, K, J, P,
    versions, initial, left, right, fresh, made, given, columns, sets, D,
    INITIAL: tl.constexpr, FRESH: tl.constexpr, EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(M, EVENTS)
    row = item // blocks
    e = item % blocks * EVENTS + tl.arange(0, EVENTS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]

    write, _, step, number, start = event(order, base, row, e, M, T, H, K, J, P)
    g = gate_of(write, step, number, weight, gate, K)[:, None]
    changes = (g != 0) & inside
    c = tl.load(candidate + step[:, None] * D + column[None, :], mask=changes, other=0.0)
    b = tl.where(g == 0, minus_zero(), g * c.to(tl.float32))
    first = (start != CONTINUES)[:, None]
    held = rows_at(
        tl.where(start == CONTINUES, NONE, start), column, versions, initial, left, right, fresh,
        made, given, columns, sets, D, INITIAL, FRESH,
    )  # fmt: skip
    b = tl.where(first, (1 - g) * held + b, b)
    a = tl.where(first, START, 1 - g) + tl.zeros([EVENTS, WIDTH], tl.float32)
    a, b = tl.associative_scan((a, b), 0, compose)

    # Writes to no cell make rows of zeros, so that the whole table is defined.
    place = tl.load(order + row * M + e, mask=e < M, other=0).to(tl.int64) - P
    slot = ((row // H * T + place // (K + J)) * H + row % H) * K + place % (K + J)
    makes = (e < M) & (place >= 0) & (place % (K + J) < K)
    tl.store(versions + slot[:, None] * D + column[None, :], b, mask=makes[:, None] & inside)
    store_block(a, b, column, blocks_a, blocks_b, item, D, EVENTS)


@triton.jit(do_not_specialize=SIZES)
def finish_writes(
    order, base, weight, gate,
    blocks_b,  # (R, blocks, D) the row that each block ends with
    versions, M, T, H, K, J, P, D,
    EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(M, EVENTS)
    row = item // blocks
    e = item % blocks * EVENTS + tl.arange(0, EVENTS)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < D

    write, _, step, number, start = event(order, base, row, e, M, T, H, K, J, P)
    a, any_left = from_before(kept(write, step, number, start, weight, gate, K))
    before = tl.load(blocks_b + (item - 1) * D + column, mask=inside & (item % blocks > 0), other=0)
    continues = (write & any_left & (item % blocks > 0))[:, None] & inside[None, :]
    at = versions + (step * K + number)[:, None] * D + column[None, :]
    rows = tl.load(at, mask=continues, other=0.0)
    tl.store(at, a[:, None] * before[None, :] + rows, mask=continues)


@triton.jit(do_not_specialize=["blocks"])
def scan_blocks(
    blocks_a,  # (R, blocks)
    blocks_b,  # (R, blocks, D): the map of each block; becomes the row that each block ends with
    blocks, D,
    EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]
    number = tl.arange(0, EVENTS)
    before = tl.zeros([WIDTH], tl.float32)
    first = 0
    while first < blocks:
        at = row * blocks + first + number
        live = first + number < blocks
        a = tl.load(blocks_a + at, mask=live, other=1.0)[:, None]
        a += tl.zeros([EVENTS, WIDTH], tl.float32)
        where = blocks_b + at[:, None] * D + column[None, :]
        b = tl.load(where, mask=live[:, None] & inside, other=0.0)
        a, b = tl.associative_scan((a, b), 0, compose)
        _, b = compose(1.0, before[None, :], a, b)
        tl.store(where, b, mask=live[:, None] & inside)
        # The last row, bit by bit: a sum of floats would lose the sign of a zero.
        bits = tl.where((number == EVENTS - 1)[:, None], b.to(tl.int32, bitcast=True), 0)
        before = tl.sum(bits, axis=0).to(tl.float32, bitcast=True)
        first += EVENTS


@triton.jit(do_not_specialize=SIZES)
def scan_adjoints(
    order, base,
    final,  # (R, M), read only if FINAL
    weight, gate, read_weight, grad_output,
    grad_tags,  # (S, J, TAG), read only if TAG
    grad_rows,
    adjoint,  # (made + given + R·M if fresh, D)
    blocks_a, blocks_b, M, T, H, K, J, P, made, D, values, stride,
    FINAL: tl.constexpr, TAG: tl.constexpr, EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(M, EVENTS)
    row = item // blocks
    e = M - 1 - (item % blocks * EVENTS + tl.arange(0, EVENTS))
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]

    # The adjoint of the row after event e: event e + 1 maps the adjoint of the row after itself.
    write, read, step, number, start = event(order, base, row, e + 1, M, T, H, K, J, P)
    goes_on = start == CONTINUES
    keep = kept(write, step, number, start, weight, gate, K)
    read = read & goes_on
    b = read_adjoint(
        read, step, number, column, read_weight, grad_output, grad_tags, K, J, values, stride, TAG
    )
    if FINAL:
        ends = (e >= 0) & (goes_on == 0)
        place = tl.load(final + row * M + e, mask=ends, other=NONE).to(tl.int64)
        mask = (place >= 0)[:, None] & inside
        b += tl.load(grad_rows + place[:, None] * D + column[None, :], mask=mask, other=0.0)
    a = keep[:, None] + tl.zeros([EVENTS, WIDTH], tl.float32)
    a, b = tl.associative_scan((a, b), 0, compose)
    store_block(a, b, column, blocks_a, blocks_b, item, D, EVENTS)

    place = tl.load(order + row * M + e, mask=e >= 0, other=0).to(tl.int64) - P
    slot = ((row // H * T + place // (K + J)) * H + row % H) * K + place % (K + J)
    makes = (e >= 0) & (place >= 0) & (place % (K + J) < K)
    tl.store(adjoint + slot[:, None] * D + column[None, :], b, mask=makes[:, None] & inside)

    # The first event of a chain passes the adjoint on to the row that the chain began with.
    write, read, step, number, start = event(order, base, row, e, M, T, H, K, J, P)
    begins = start >= made
    b *= 1 - gate_of(write & begins, step, number, weight, gate, K)[:, None]
    read = read & begins
    b += read_adjoint(
        read, step, number, column, read_weight, grad_output, grad_tags, K, J, values, stride, TAG
    )
    at = adjoint + start[:, None] * D + column[None, :]
    tl.store(at, b, mask=begins[:, None] & inside)


@triton.jit(do_not_specialize=SIZES)
def finish_adjoints(
    order, base, weight, gate, blocks_b, adjoint, M, T, H, K, J, P, made, D,
    EVENTS: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    item = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(M, EVENTS)
    row = item // blocks
    e = M - 1 - (item % blocks * EVENTS + tl.arange(0, EVENTS))
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < D

    write, _, step, number, start = event(order, base, row, e + 1, M, T, H, K, J, P)
    keep = kept(write, step, number, start, weight, gate, K)
    a, any_left = from_before(keep)
    behind = tl.load(blocks_b + (item - 1) * D + column, mask=inside & (item % blocks > 0), other=0)

    write, _, step, number, start = event(order, base, row, e, M, T, H, K, J, P)
    any_left = any_left & (item % blocks > 0)
    at = adjoint + (step * K + number)[:, None] * D + column[None, :]
    mask = (write & any_left)[:, None] & inside[None, :]
    rows = tl.load(at, mask=mask, other=0.0)
    tl.store(at, a[:, None] * behind[None, :] + rows, mask=mask)

    begins = (start >= made) & any_left
    keep = 1 - gate_of(write & begins, step, number, weight, gate, K)
    at = adjoint + start[:, None] * D + column[None, :]
    mask = begins[:, None] & inside[None, :]
    rows = tl.load(at, mask=mask, other=0.0)
    tl.store(at, (keep * a)[:, None] * behind[None, :] + rows, mask=mask)


class Blocks:
    """The blocks of R rows of M sorted events, and the launches of a scan over the blocks."""

    def __init__(self, events: Tensor, like: Tensor) -> None:
        """events (R, M), like (…, D)"""
        (R, M), D = events.shape, like.shape[-1]
        self.number = triton.cdiv(M, EVENTS)
        self.R, self.D = R, D
        self.a = like.new_empty(R, self.number, dtype=torch.float32)
        self.b = like.new_empty(R, self.number, D, dtype=torch.float32)

    def run(self, kernel: Any, *args: Any, **constants: Any) -> None:
        self._launch(kernel, self.R * self.number, *args, **constants)

    def carry(self) -> bool:
        """Scan the ends of the blocks; False if each row has one block."""
        if self.number > 1:
            self._launch(scan_blocks, self.R, self.a, self.b, self.number, self.D)
        return self.number > 1

    def _launch(self, kernel: Any, items: int, *args: Any, **constants: Any) -> None:
        W = width(self.D)
        grid = (items, triton.cdiv(self.D, W))
        if all(grid):
            kernel[grid](*args, **constants, EVENTS=EVENTS, WIDTH=W, num_warps=4)


def _sizes(x: Inputs) -> tuple[int, ...]:
    """M, T, H, K, J, P"""
    _, T, H, K = x.write_index.shape
    return codes.events_each(x), T, H, K, x.read_index.shape[-1], x.given_cells


def forward(x: Inputs, layout: Layout, table: tuple[Any, ...]) -> None:
    """Fills the table's versions (B·T·H·K, D)."""
    sizes = _sizes(x)
    blocks = Blocks(layout.order, x.candidate)
    known = (layout.order, layout.base, x.write_weight, x.gate)
    blocks.run(scan_writes, *known, x.candidate, blocks.a, blocks.b, *sizes, *table)
    if blocks.carry():
        blocks.run(finish_writes, *known, blocks.b, table[0], *sizes, blocks.D)


def backward(
    x: Inputs,
    layout: Layout,
    grad_output: Tensor,  # (B, T, H, D), or one number more than values of tagged reads
    grad_tags: Tensor | None,  # (B, T, H, J, A) float32, of the tags that reads find
    grad_rows: Tensor | None,  # float32
    adjoint: Tensor,  # (versions and bases, D) float32: overwritten at all versions and bases
) -> None:
    """The adjoints of versions and bases."""
    sizes = (*_sizes(x), x.write_index.numel(), x.candidate.shape[-1])
    blocks = Blocks(layout.order, x.candidate)
    events = (layout.order, layout.base)
    writes = (x.write_weight, x.gate)
    blocks.run(
        scan_adjoints,
        *events,
        layout.final,
        *writes,
        x.read_weight,
        grad_output,
        adjoint if grad_tags is None else grad_tags,
        adjoint if grad_rows is None else grad_rows,
        adjoint,
        blocks.a,
        blocks.b,
        *sizes,
        x.values,
        grad_output.shape[-1],
        FINAL=grad_rows is not None,
        TAG=x.tag_width,
    )
    if blocks.carry():
        blocks.run(finish_adjoints, *events, *writes, blocks.b, adjoint, *sizes)
