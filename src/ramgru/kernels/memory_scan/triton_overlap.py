"""How the writes of a chunk of steps bear on one another under the delta rule: numbers, no rows.

With the row m[e] that write e's chain had before the chunk, its weight a[e], and u = z (c - a·m):

    A[e, s]  the weight that step s gives to the cell of write e, summed over the step's writes
    version  m[e] + sum over s up to e's step of A[e, s] u[s]
    L[t, s]  sum over the writes e of step t of a[e] A[e, s], where s < t
    u        (1 + diag(z) L)^-1 diag(z) (c - sum over a step's e of a[e] m[e])

A are the `shares`, the matrix before the bracket the `response`. An entry of either is 0 exactly
where the equations let nothing through: so a product keeps what is not finite where it belongs.

R = B·H sequences and heads; S = B·T·H steps; C steps a chunk; K writes a step.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels.memory_scan import triton_order
from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.triton_order import Layout

WRITES = 16  # writes of each step that are compared at once, at most
WARPS = 4

NONE = tl.constexpr(triton_order.NONE)
TINY = tl.constexpr(1e-37)  # for a response that cancels to 0: times any row, it rounds away


@triton.jit
def steps_of(chunk, row, T, H, CHUNK: tl.constexpr):
    """(C,) the steps of a chunk, counted over all sequences and heads, and which ones there are"""
    t = chunk * CHUNK + tl.arange(0, CHUNK)
    return (row // H * T + t) * H + row % H, t < T


@triton.jit(do_not_specialize=["T", "H"])
def overlap(
    last,  # (S, K)
    weight,  # (S, K)
    gate,  # (S,)
    shares,  # (R, chunks, C, K, C)
    response,  # (R, chunks, C, C)
    T,
    H,
    K: tl.constexpr,
    CHUNK: tl.constexpr,
    ROUNDS: tl.constexpr,
    WRITES: tl.constexpr,
):
    item = tl.program_id(0).to(tl.int64)
    chunks = tl.cdiv(T, CHUNK)
    step, live = steps_of(item % chunks, item // chunks, T, H, CHUNK)
    t, s = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]

    counts = tl.zeros([CHUNK], tl.int32)
    for k in range(K):
        mine = tl.load(last + step * K + k, mask=live, other=NONE)
        counts = tl.where(mine != NONE, 1, counts)
    z = tl.load(gate + step, mask=counts > 0, other=0.0).to(tl.float32)

    within = tl.zeros([CHUNK, CHUNK], tl.float32)  # L
    reached = tl.where(t == s, 1.0, 0.0)  # which steps bear on which; first without go-betweens
    for k in range(K):
        mine = tl.load(last + step * K + k, mask=live, other=NONE)
        a = tl.load(weight + step * K + k, mask=mine != NONE, other=0.0).to(tl.float32)
        share = tl.zeros([CHUNK, CHUNK], tl.float32)
        for first in range(0, K, WRITES):
            others = first + tl.arange(0, WRITES)[None, :]
            at = step[:, None] * K + others
            theirs = tl.load(last + at, mask=live[:, None] & (others < K), other=NONE)
            b = tl.load(weight + at, mask=theirs != NONE, other=0.0).to(tl.float32)
            same = mine[:, None, None] == theirs[None, :, :]
            same = same & (mine != NONE)[:, None, None]
            share += tl.sum(tl.where(same, b[None, :, :], 0.0), axis=2)
        share = tl.where(z[None, :] == 0, 0.0, share)  # a closed gate writes nothing
        tl.store(shares + ((item * CHUNK + t) * K + k) * CHUNK + s, share)
        earlier = (s < t) & (share != 0)
        within += tl.where(earlier, a[:, None] * share, 0.0)
        reached = tl.where(earlier, 1.0, reached)

    for _ in range(ROUNDS):  # by way of twice as many steps
        twice = tl.dot(reached, reached, input_precision="ieee")
        reached = tl.where(twice > 0, 1.0, 0.0)

    # Forward substitution, a column of L after the other.
    inverse = tl.where(t == s, 1.0, 0.0)
    within = z[:, None] * within
    for i in range(CHUNK - 1):
        factor = tl.sum(tl.where(s == i, within, 0.0), axis=1)[:, None]
        solved = tl.sum(tl.where(t == i, inverse, 0.0), axis=0)[None, :]
        inverse -= tl.where(factor == 0, 0.0, factor * solved)
    inverse *= z[None, :]
    inverse = tl.where(tl.abs(inverse) < TINY, TINY, inverse)
    through = (reached > 0) & (z != 0)[:, None]
    tl.store(response + (item * CHUNK + t) * CHUNK + s, tl.where(through, inverse, 0.0))


@triton.jit
def spoilt(rows):
    """Whether anything in rows (C, W) is not finite."""
    return tl.max(tl.max(tl.where(tl.abs(rows) < float("inf"), 0, 1), axis=1), axis=0) > 0


@triton.jit
def product(matrix, rows, any_spoilt):
    """matrix (E, C) times rows (C, W), where an entry of 0 lets nothing through, NaN neither."""
    bad = tl.where(tl.abs(rows) < float("inf"), 0.0, 1.0)
    total = tl.dot(matrix, tl.where(bad > 0, 0.0, rows), input_precision="ieee")
    if any_spoilt:
        through = tl.where(matrix == 0, 0.0, 1.0)
        reached = tl.dot(through, bad, input_precision="ieee") > 0
        total = tl.where(reached, float("nan"), total)
    return total


def overlaps(x: Inputs, layout: Layout) -> tuple[Tensor, Tensor]:
    """-> shares (R, chunks, C, K, C) and response (R, chunks, C, C), float32"""
    B, T, H, K = x.write_index.shape
    C = triton_order.CHUNK
    chunks = triton.cdiv(T, C)
    shares = x.write_weight.new_empty(B * H, chunks, C, K, C, dtype=torch.float32)
    response = shares.new_empty(B * H, chunks, C, C)
    if B * H * chunks:
        overlap[(B * H * chunks,)](
            layout.last,
            x.write_weight,
            x.gate,
            shares,
            response,
            T,
            H,
            K=K,
            CHUNK=C,
            ROUNDS=(C - 1).bit_length(),
            WRITES=min(WRITES, triton.next_power_of_2(K)),
            num_warps=WARPS,
        )
    return shares, response
