"""The GRU rule on a GPU: what the gradients of its writes are, once adjoints are known.

Version m = (1 - g) m' + g c with g = weight · gate; letters as in `triton_rows`.
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
from ramgru.kernels.memory_scan.triton_rows import NONE, launch, rows_at, width


@triton.jit(do_not_specialize=["S", "made", "given"])
def dot_writes(
    codes,  # (S, K) what each write finds
    weight,  # (S, K)
    gate,  # (S,)
    candidate,  # (S, D)
    adjoint,  # (S·K and more, D)
    grad_weight,  # (parts of the width, S, K)
    grad_gate,  # (parts of the width, S)
    grad_candidate,  # (S, D)
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
    K: tl.constexpr,
    STEPS: tl.constexpr,
    WIDTH: tl.constexpr,
):
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
