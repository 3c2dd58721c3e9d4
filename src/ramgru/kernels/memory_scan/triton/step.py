"""One step in place on a GPU: a program for each (sequence, head) and part of the width.

With tags a program has the whole width, because the tags that it writes weigh all that it reads.
"""

# Triton types the arguments of its kernels.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu
from ramgru.kernels.memory_scan.tag import Tag

WIDTH = 32  # columns of a program without tags


@triton.jit
def inverse_length(squared):
    """0 for the zero vector"""
    zero = squared <= 1e-24
    return tl.where(zero, 0.0, 1 / tl.sqrt(tl.where(zero, 1.0, squared)))


@triton.jit
def score(tag, query, query_scale, match):
    """match times the cosine of a tag and the query"""
    scale = inverse_length(tl.sum(tag * tag, 0))
    return match * tl.sum(tag * query, 0) * query_scale * scale


@triton.jit(do_not_specialize=["N"])
def write_and_read(
    rows,  # (R, N, D); overwritten
    cells,  # (R, K)
    weight,  # (R, K)
    gate,  # (R,)
    candidate,  # (R, D)
    read_cells,  # (R, J)
    read_weight,  # (R, J)
    query,  # (R, TAG), match (H,) and null (H,): not read without tags
    match,
    null,
    outputs,  # (R, D), or with tags (R, D - TAG + 1)
    N, D, H,
    K: tl.constexpr, J: tl.constexpr, TAG: tl.constexpr, LANES: tl.constexpr, WIDTH: tl.constexpr,
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
    if TAG:
        values = D - TAG
        lane = tl.arange(0, LANES)
        q = tl.load(query + row * TAG + lane, mask=lane < TAG, other=0.0)
        query_scale = inverse_length(tl.sum(q * q, 0))
        kappa = tl.load(match + row % H)
        none = tl.load(null + row % H)
        top = none
        for j in range(J):
            place = tl.load(read_cells + row * J + j)
            at = rows + (row * N + place) * D + values + lane
            tag = tl.load(at, mask=(lane < TAG) & (place >= 0), other=0.0)
            s = score(tag, q, query_scale, kappa)
            top = tl.where((place >= 0) & (s > top), s, top)
        top = tl.where(top == float("-inf"), 0.0, top)
        none = tl.exp(none - top)
        total = none
        for j in range(J):
            place = tl.load(read_cells + row * J + j)
            at = rows + (row * N + place) * D + values + lane
            tag = tl.load(at, mask=(lane < TAG) & (place >= 0), other=0.0)
            r = tl.load(read_weight + row * J + j, mask=place >= 0, other=0.0)
            s = score(tag, q, query_scale, kappa)
            r *= tl.exp(tl.where(place >= 0, s - top, 0.0))
            total += r
            y += r * tl.load(table + place * D, mask=(column < values) & (place >= 0), other=0.0)
        y = tl.where(column == values, none, y) / tl.where(total == 0, 1.0, total)
        tl.store(outputs + row * (values + 1) + column, y, mask=column <= values)
    else:
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
    tag: Tag | None,  # with a query (B, H, A)
) -> Tensor:
    """-> what each head reads (B, H, D), or (B, H, D - A + 1) if reads are tagged"""
    B, H, N, D = rows.shape
    K, J = write_index.shape[-1], read_index.shape[-1]
    A = 0 if tag is None else tag.query.shape[-1]
    others = (write_index, write_weight, gate, candidate, read_index, read_weight)
    more = (gate, gate, gate) if tag is None else tag
    outputs = rows.new_empty(B, H, D - A + (tag is not None))
    width = triton.next_power_of_2(D) if A else WIDTH
    grid = (B * H, triton.cdiv(D, width))
    if all(grid):
        with gpu.on_device_of(rows):
            write_and_read[grid](
                rows,
                *(v.contiguous() for v in (*others, *more)),
                outputs,
                N,
                D,
                H,
                K=K,
                J=J,
                TAG=A,
                LANES=triton.next_power_of_2(max(1, A)),
                WIDTH=width,
                num_warps=1,
            )
    torch.autograd.graph.increment_version(rows)  # so that autograd notices the change
    return outputs
