"""The delta rule on a GPU: a program walks the steps of a (sequence, head), for part of the width.

u = z (c - sum_k a[k] m[k]), m'[k] = m[k] + total[k] u, where total is the weight that an address's
cell gets from the whole step. The columns of a row do not depend on each other, so that programs
share them out. Rows are versions in a table (`triton_order`): each step writes rows of its own, and
a barrier stands between what one step writes and the next one reads.

R = B·H sequences and heads; K writes a step; width D.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.triton_order import Layout
from ramgru.kernels.memory_scan.triton_rows import NONE, rows_at

WIDTH = 32  # columns of a program: few, for time is walked and only programs run side by side


@triton.jit
def step_of(step, cells, codes, weight, K, WRITES: tl.constexpr):
    """-> codes of what is found, weights, and (K, K) which addresses name one cell"""
    k = tl.arange(0, WRITES)
    code = tl.load(codes + step * K + k, mask=k < K, other=NONE).to(tl.int64)
    writes = code != NONE
    a = tl.load(weight + step * K + k, mask=writes, other=0.0).to(tl.float32)
    cell = tl.load(cells + step * K + k, mask=writes, other=-1)
    same = (cell[:, None] == cell[None, :]) & writes[:, None] & writes[None, :]
    return code, a, same


@triton.jit
def over(same, value):
    """(K,) the sum of the values of all addresses of the same cell"""
    return tl.sum(tl.where(same, value[None, :], 0.0), axis=1)


@triton.jit(do_not_specialize=["T", "H", "K", "made", "given"])
def walk(
    cells,  # (S, K)
    codes,  # (S, K)
    weight,  # (S, K)
    gate,  # (S,)
    candidate,  # (S, D)
    T,
    H,
    K,
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
    WRITES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    k = tl.arange(0, WRITES)
    t = 0
    while t < T:
        step = (row // H * T + t) * H + row % H
        code, a, same = step_of(step, cells, codes, weight, K, WRITES)
        total = over(same, a)
        some = tl.max(tl.where(code == NONE, 0, 1), axis=0) > 0  # else the step does not count
        z = tl.load(gate + step, mask=some, other=0.0).to(tl.float32)
        c = tl.load(candidate + step * D + column, mask=some & (column < D), other=0.0)
        c = c.to(tl.float32)
        held = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        u = z * (c - tl.sum(a[:, None] * held, axis=0))
        frozen = (total * z == 0)[:, None]  # even the sign of a zero stays
        now = tl.where(frozen, held, held + total[:, None] * u[None, :])
        at = versions + (step * K + k)[:, None] * D + column[None, :]
        tl.store(at, now, mask=(k < K)[:, None] & (column < D)[None, :])
        tl.debug_barrier()
        t += 1


@triton.jit(do_not_specialize=["S", "T", "H", "K", "made", "given"])
def walk_back(
    cells,  # (S, K)
    codes,  # (S, K)
    weight,  # (S, K)
    gate,  # (S,)
    candidate,  # (S, D)
    adjoint,  # (versions and bases, D) from reads and the final rows; becomes whole
    grad_weight,  # (parts of the width, S, K)
    grad_gate,  # (parts of the width, S)
    grad_candidate,  # (S, D)
    S,
    T,
    H,
    K,
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
    WRITES: tl.constexpr,
    WIDTH: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64)
    part = tl.program_id(1).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = (column < D)[None, :]
    k = tl.arange(0, WRITES)
    t = T - 1
    while t >= 0:
        step = (row // H * T + t) * H + row % H
        code, a, same = step_of(step, cells, codes, weight, K, WRITES)
        total = over(same, a)
        # Of several writes of one cell, only the last one's version was ever looked at.
        newest = (code != NONE) & (tl.max(tl.where(same, k[None, :], -1), axis=1) == k)
        some = tl.max(tl.where(code == NONE, 0, 1), axis=0) > 0  # else the step does not count
        z = tl.load(gate + step, mask=some, other=0.0).to(tl.float32)
        c = tl.load(candidate + step * D + column, mask=some & (column < D), other=0.0)
        c = c.to(tl.float32)
        held = rows_at(
            code, column, versions, initial, left, right, fresh,
            made, given, columns, sets, D, INITIAL, FRESH,
        )  # fmt: skip
        mask = newest[:, None] & inside
        at = adjoint + (step * K + k)[:, None] * D + column[None, :]
        dm = tl.load(at, mask=mask, other=0.0)
        error = c - tl.sum(a[:, None] * held, axis=0)
        du = tl.sum(total[:, None] * dm, axis=0)
        derror = z * du
        tl.store(grad_gate + part * S + step, tl.sum(du * error, axis=0))
        tl.store(grad_candidate + step * D + column, derror, mask=column < D)
        grad_total = tl.sum(dm * (z * error)[None, :], axis=1)
        found = over(same, grad_total) - tl.sum(held * derror[None, :], axis=1)
        found = tl.where(code == NONE, 0.0, found)
        tl.store(grad_weight + (part * S + step) * K + k, found, mask=k < K)

        mask = mask & (code >= 0)[:, None]
        at = adjoint + code[:, None] * D + column[None, :]
        dheld = tl.load(at, mask=mask, other=0.0) + dm - total[:, None] * derror[None, :]
        tl.store(at, dheld, mask=mask)
        tl.debug_barrier()
        t -= 1


def warps(writes: int) -> int:
    """For a tile of `writes` rows of WIDTH columns, so that registers hold it."""
    return max(1, min(writes // 8, 16))


def _launch(kernel: Any, x: Inputs, *args: Any) -> None:
    B, _, H, D = x.candidate.shape
    grid = (B * H, triton.cdiv(D, WIDTH))
    writes = triton.next_power_of_2(x.write_index.shape[-1])
    if all(grid) and x.candidate.shape[1]:
        kernel[grid](*args, WRITES=writes, WIDTH=WIDTH, num_warps=warps(writes))


def forward(x: Inputs, layout: Layout, table: tuple[Any, ...]) -> None:
    """Fills the table's versions (B·T·H·K, D)."""
    _, T, H, K = x.write_index.shape
    given = (x.write_index, layout.write, x.write_weight, x.gate, x.candidate)
    _launch(walk, x, *given, T, H, K, *table)


def backward(
    x: Inputs, layout: Layout, adjoint: Tensor, table: tuple[Any, ...]
) -> tuple[Tensor, Tensor, Tensor]:
    """-> gradients of weight, gate and candidate, float32; `adjoint` becomes that of each row."""
    _, T, H, K = x.write_index.shape
    S, D = x.gate.numel(), x.candidate.shape[-1]
    parts = triton.cdiv(D, WIDTH)
    grad_weight = adjoint.new_empty(parts, *x.write_index.shape)
    grad_gate = adjoint.new_empty(parts, *x.gate.shape)
    grad_candidate = torch.empty_like(x.candidate, dtype=torch.float32)
    given = (x.write_index, layout.write, x.write_weight, x.gate, x.candidate, adjoint)
    grads = (grad_weight, grad_gate, grad_candidate)
    _launch(walk_back, x, *given, *grads, S, T, H, K, *table)
    return grad_weight.sum(0), grad_gate.sum(0), grad_candidate
