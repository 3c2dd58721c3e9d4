"""One step in place on a GPU: a program for each (sequence, head) and part of the width."""

# Triton types the arguments of its kernels.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

WIDTH = 32  # columns of a program


@triton.jit(do_not_specialize=["N"])
def write_and_read(
    rows,  # (R, N, D); overwritten
    cells,  # (R, K)
    weight,  # (R, K)
    gate,  # (R,)
    candidate,  # (R, D)
    read_cells,  # (R, J)
    read_weight,  # (R, J)
    outputs,  # (R, D)
    N, D,
    K: tl.constexpr, J: tl.constexpr, WIDTH: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * WIDTH + tl.arange(0, WIDTH)
    inside = column < D
    table = rows + row * N * D + column
    each = column * 0 + row  # broadcast, so that all masks have one shape
    c = tl.load(candidate + row * D + column, mask=inside, other=0.0)
    z = tl.load(gate + each)
    for k in range(K):
        cell = tl.load(cells + each * K + k)
        g = tl.load(weight + each * K + k) * z
        changes = inside & (cell >= 0) & (g != 0)
        held = tl.load(table + cell * D, mask=changes, other=0.0)
        tl.store(table + cell * D, (1 - g) * held + g * c, mask=changes)
        tl.debug_barrier()
    y = tl.zeros([WIDTH], tl.float32)
    for j in range(J):
        place = tl.load(read_cells + each * J + j)
        r = tl.load(read_weight + each * J + j, mask=place >= 0, other=0.0)
        y += r * tl.load(table + place * D, mask=inside & (place >= 0), other=0.0)
    tl.store(outputs + row * D + column, y, mask=inside)


def step_(
    rows: Tensor,  # (B, H, N, D) float32, contiguous; overwritten
    write_index: Tensor,  # (B, H, K)
    write_weight: Tensor,  # (B, H, K); all floating-point tensors have the dtype of rows
    gate: Tensor,  # (B, H)
    candidate: Tensor,  # (B, H, D)
    read_index: Tensor,  # (B, H, J)
    read_weight: Tensor,  # (B, H, J)
) -> Tensor:
    """-> the value that each head reads (B, H, D)"""
    B, H, N, D = rows.shape
    K, J = write_index.shape[-1], read_index.shape[-1]
    others = (write_index, write_weight, gate, candidate, read_index, read_weight)
    outputs = rows.new_empty(B, H, D)
    grid = (B * H, triton.cdiv(D, WIDTH))
    if all(grid):
        with gpu.on_device_of(rows):
            write_and_read[grid](
                rows,
                *(v.contiguous() for v in others),
                outputs,
                N,
                D,
                K=K,
                J=J,
                WIDTH=WIDTH,
                num_warps=1,
            )
    torch.autograd.graph.increment_version(rows)  # so that autograd notices the change
    return outputs
