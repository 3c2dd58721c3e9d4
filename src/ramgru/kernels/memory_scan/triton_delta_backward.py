"""The delta rule on a GPU, backward: the chunks are walked from the last one to the first.

The segmented scan (`triton_scan`) gives each version's adjoint from the reads up to the last write
of its chain in the chunk, and gives that last version what came after it. So for write e

    X[e]   adjoint[e] + adjoint[last of e's chain in the chunk], which is all but errors' part
    dQ     response^T (sum over a step's e of a[e] X[e]), the gradient of c - a·m at each step
    dm[e]  X[e] - sum over s behind e's step of shares[e, s] dQ[s], the whole adjoint of a version

and the row before the chunk gets X[e] - sum over all s of shares[e, s] dQ[s], by its first write e.
Letters as in `triton_delta`.
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
from ramgru.kernels.memory_scan.triton_delta import (
    errors,
    launch,
    of_steps,
    parts,
    shares_at,
    writes_of,
)
from ramgru.kernels.memory_scan.triton_order import Layout
from ramgru.kernels.memory_scan.triton_overlap import overlaps, product, spoilt, steps_of
from ramgru.kernels.memory_scan.triton_rows import NONE, rows_at


@triton.jit
def adjoints_at(adjoint, place, end, column, D):
    """(E, W) X of the writes at these places, whose chains end in the chunk at `end`, or NONE."""
    at = column[None, :]
    inside = (column < D)[None, :]
    mask = (end != NONE)[:, None] & inside
    own = tl.load(adjoint + place[:, None] * D + at, mask=mask, other=0.0)
    mask = mask & (end != place)[:, None]
    return own + tl.load(adjoint + end[:, None] * D + at, mask=mask, other=0.0)


@triton.jit(do_not_specialize=["T", "H"])
def walk_back(
    codes,  # (S, K) of the rows before the chunk
    last,  # (S, K)
    begins,  # (S, K) which writes are the first ones
    weight,  # (S, K)
    adjoint,  # (versions and bases, D), as the scan leaves it; bases and last versions become whole
    shares,  # (R, chunks, C, K, C)
    response,  # (R, chunks, C, C)
    grad_candidate,  # (S, D)
    T,
    H,
    D,
    K: tl.constexpr,
    CHUNK: tl.constexpr,
    WRITES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]
    chunks = tl.cdiv(T, CHUNK)
    t, s = tl.arange(0, CHUNK)[:, None], tl.arange(0, CHUNK)[None, :]
    chunk = chunks - 1
    while chunk >= 0:
        du = tl.zeros([CHUNK, WIDTH], tl.float32)
        for first in range(0, K, WRITES):
            _, place, _, there = writes_of(chunk, row, first, T, H, K, CHUNK, WRITES)
            end = tl.load(last + place, mask=there, other=NONE).to(tl.int64)
            a = tl.load(weight + place, mask=end != NONE, other=0.0).to(tl.float32)
            dm = adjoints_at(adjoint, place, end, column, D)
            du += of_steps(a[:, None] * dm, CHUNK, WRITES, WIDTH)
        transposed = tl.load(response + ((row * chunks + chunk) * CHUNK + s) * CHUNK + t)
        derror = product(transposed, du, spoilt(du))
        step, live = steps_of(chunk, row, T, H, CHUNK)
        store = grad_candidate + step[:, None] * D + column[None, :]
        tl.store(store, derror, mask=live[:, None] & inside)

        any_spoilt = spoilt(derror)
        for first in range(0, K, WRITES):
            _, place, own, there = writes_of(chunk, row, first, T, H, K, CHUNK, WRITES)
            code = tl.load(codes + place, mask=there, other=NONE).to(tl.int64)
            there = there & (code >= 0)
            there = there & tl.load(begins + place, mask=there, other=0).to(tl.int1)
            end = tl.load(last + place, mask=there, other=NONE).to(tl.int64)
            dm = adjoints_at(adjoint, place, end, column, D)
            share = shares_at(shares, row * chunks + chunk, own, there[:, None], K, CHUNK)
            dm -= product(share, derror, any_spoilt)
            base = adjoint + code[:, None] * D + column[None, :]
            mask = there[:, None] & inside
            tl.store(base, tl.load(base, mask=mask, other=0.0) + dm, mask=mask)
        tl.debug_barrier()
        chunk -= 1


@triton.jit(do_not_specialize=["S", "T", "H", "made", "given"])
def dot_chunks(
    codes,  # (S, K) of the rows before the step
    last,  # (S, K)
    weight,  # (S, K)
    gate,  # (S,)
    candidate,  # (S, D)
    adjoint,  # (versions and bases, D), as `walk_back` leaves it
    shares,  # (R, chunks, C, K, C)
    grad_weight,  # (parts of the width, S, K)
    grad_gate,  # (parts of the width, S)
    grad_candidate,  # (S, D)
    S,
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
    """Gradients of weights and gates; a program for each chunk."""
    item = tl.program_id(0).to(tl.int64)
    chunks = tl.cdiv(T, CHUNK)
    row, chunk = item // chunks, item % chunks
    part = tl.program_id(1).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    s = tl.arange(0, CHUNK)[None, :]
    error = errors(
        codes, weight, candidate, chunk, row, column, T, H,
        versions, initial, left, right, fresh, made, given, columns, sets, D,
        INITIAL, FRESH, K, CHUNK, WRITES, WIDTH,
    )  # fmt: skip
    step, live = steps_of(chunk, row, T, H, CHUNK)
    z = tl.load(gate + step, mask=live, other=0.0).to(tl.float32)
    inside = live[:, None] & (column < D)[None, :]
    derror = tl.load(grad_candidate + step[:, None] * D + column[None, :], mask=inside, other=0.0)
    any_spoilt = spoilt(derror)
    du = tl.zeros([CHUNK, WIDTH], tl.float32)
    for first in range(0, K, WRITES):
        at, place, own, there = writes_of(chunk, row, first, T, H, K, CHUNK, WRITES)
        code = tl.load(codes + place, mask=there, other=NONE).to(tl.int64)
        end = tl.load(last + place, mask=there, other=NONE).to(tl.int64)
        a = tl.load(weight + place, mask=end != NONE, other=0.0).to(tl.float32)
        held = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        mask = there[:, None] & (s > at[:, None])
        share = shares_at(shares, item, own, mask, K, CHUNK)
        dm = adjoints_at(adjoint, place, end, column, D)
        dm -= product(share, derror, any_spoilt)
        du += of_steps(a[:, None] * dm, CHUNK, WRITES, WIDTH)
        dm = tl.reshape(dm, [CHUNK, WRITES, WIDTH])
        held = tl.reshape(held, [CHUNK, WRITES, WIDTH])
        each = dm * (z[:, None] * error)[:, None, :] - held * derror[:, None, :]
        counts = tl.reshape(end != NONE, [CHUNK, WRITES])
        found = tl.where(counts, tl.sum(each, axis=2), 0.0)
        k = first + tl.arange(0, WRITES)[None, :]
        store = grad_weight + (part * S + step)[:, None] * K + k
        tl.store(store, found, mask=live[:, None] & (k < K))
    tl.store(grad_gate + part * S + step, tl.sum(du * error, axis=1), mask=live)


def backward(
    x: Inputs, layout: Layout, adjoint: Tensor, table: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """-> gradients of weight, gate and candidate, float32; adjoints of all bases become whole."""
    B, T, H, _ = x.write_index.shape
    S, D = x.gate.numel(), x.candidate.shape[-1]
    weight = adjoint.new_empty(parts(D), *x.write_index.shape)
    gate = adjoint.new_empty(parts(D), *x.gate.shape)
    candidate = torch.empty_like(x.candidate, dtype=torch.float32)
    shares, response = overlaps(x, layout)
    known = (layout.chunk_base, layout.last, layout.first, x.write_weight)
    launch(walk_back, x, B * H, *known, adjoint, shares, response, candidate, T, H, D)
    chunks = B * H * triton.cdiv(T, triton_order.CHUNK)
    known = (layout.write, layout.last, x.write_weight, x.gate)
    found = (weight, gate, candidate)
    launch(dot_chunks, x, chunks, *known, x.candidate, adjoint, shares, *found, S, T, H, *table)
    return weight.sum(0), gate.sum(0), candidate
