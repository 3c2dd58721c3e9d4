"""The best K cells on a GPU: the best of each codebook, merged part by part, a row at a time.

One launch a part. In it, the K best of the part's codes are picked one after the other, and merged
with the K best cells of the parts before: of each of those only the next code is in question, so
that K picks among K sums do what a sort of K² would. Among equals the lower code comes first.

NaN counts as the largest, as in torch.topk, so that cells are always those of the memory, each one
once. Gradients go to the picked codes, summed in the order of the cells: no atomics.
"""

# A kernel's arguments are Triton's to type.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from ramgru.kernels import gpu

NUMBERS = 2048  # of a program's tile
LARGEST = 2048  # codes of a part


def takes(logits: list[Tensor]) -> bool:
    """Whether a row of codes fits into a program."""
    return all(0 < part.shape[-1] <= LARGEST for part in logits)


def best(logits: list[Tensor], top_k: int) -> tuple[Tensor, Tensor]:
    """As `parts.best`: a list of (..., H, n_u) -> values and cells (..., H, K)."""
    # A batched product of each head's codes leaves the heads outermost in memory.
    rows = [part.movedim(-2, 0).contiguous() for part in logits]
    value, cell = _Best.apply(top_k, *rows)
    return value.movedim(0, -2), cell.movedim(0, -2)


class _Best(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, top_k: int, *logits: Tensor) -> tuple[Tensor, Tensor]:
        value = cell = logits[0]  # nothing is read of them for the first part
        found = 1
        for part in logits:
            before, n = found, part.shape[-1]
            codes, found = min(top_k, n), min(top_k, found * min(top_k, n))
            more = torch.empty(*part.shape[:-1], found, dtype=part.dtype, device=part.device)
            cells = torch.empty(more.shape, dtype=torch.int64, device=part.device)
            wide, columns = (triton.next_power_of_2(x) for x in (max(before, codes, found), n))
            tile = max(1, NUMBERS // max(wide, columns))
            if more.numel():
                rows = more.numel() // found
                with gpu.on_device_of(part):
                    extend[(triton.cdiv(rows, tile),)](
                        *(part, value, cell, more, cells, rows),
                        FIRST=part is logits[0],
                        BEFORE=before,
                        CODES=codes,
                        FOUND=found,
                        N=n,
                        ROWS=tile,
                        COLUMNS=columns,
                        WIDE=wide,
                    )
            value, cell = more, cells
        ctx.sizes = tuple(part.shape[-1] for part in logits)
        ctx.save_for_backward(cell)
        ctx.mark_non_differentiable(cell)
        return value, cell

    @staticmethod
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Any, ...]:
        (cell,) = ctx.saved_tensors
        return None, *_Scatter.apply(ctx.sizes, cell, grad)


class _Scatter(torch.autograd.Function):
    """Of each part, (..., n_u): the sum of what the cells with that code got, grad (..., K)."""

    @staticmethod
    def forward(ctx: Any, sizes: tuple[int, ...], cell: Tensor, grad: Tensor) -> Any:
        ctx.sizes = sizes
        ctx.save_for_backward(cell)
        grad, found = grad.contiguous(), cell.shape[-1]
        results = []
        for u, n in enumerate(sizes):
            out = torch.empty(*cell.shape[:-1], n, dtype=grad.dtype, device=grad.device)
            columns = triton.next_power_of_2(n)
            tile = max(1, NUMBERS // columns)
            if out.numel():
                rows = out.numel() // n
                with gpu.on_device_of(grad):
                    scatter[(triton.cdiv(rows, tile),)](
                        *(cell, grad, out, rows),
                        STRIDE=_stride(sizes, u),
                        FOUND=found,
                        N=n,
                        ROWS=tile,
                        COLUMNS=columns,
                    )
            results.append(out)
        return tuple(results)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        (cell,) = ctx.saved_tensors
        return None, None, _Pick.apply(cell, *grads)


class _Pick(torch.autograd.Function):
    """The sum over parts of each cell's entry: a list of (..., n_u) -> (..., K)."""

    @staticmethod
    def forward(ctx: Any, cell: Tensor, *parts: Tensor) -> Tensor:
        ctx.sizes = tuple(part.shape[-1] for part in parts)
        ctx.save_for_backward(cell)
        picked = [
            part.gather(-1, cell // _stride(ctx.sizes, u) % part.shape[-1])
            for u, part in enumerate(parts)
        ]
        return torch.stack(picked).sum(0)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Any, ...]:
        (cell,) = ctx.saved_tensors
        return None, *_Scatter.apply(ctx.sizes, cell, grad)


def _stride(sizes: tuple[int, ...], u: int) -> int:
    """By how much a cell's number grows with the code of part u."""
    stride = 1
    for n in sizes[u + 1 :]:
        stride *= n
    return stride


@triton.jit
def pick(x, free, column, COLUMNS: tl.constexpr):
    """The column of the largest that is free in each row, the lower of equals."""
    key = tl.where(x == x, x, float("inf"))  # NaN is the largest
    most = tl.max(tl.where(free, key, float("-inf")), axis=1)
    return tl.min(tl.where(free & (key == most[:, None]), column, COLUMNS), axis=1)


@triton.jit
def entry(x, chosen):
    """Of each row the one entry that is chosen, or 0."""
    return tl.sum(tl.where(chosen, x, tl.zeros_like(x)), axis=1)


@triton.jit
def extend(
    logits,  # (rows, N) of one part
    value,  # (rows, BEFORE) the best of the parts before, the largest first
    cell,  # (rows, BEFORE)
    value_out,  # (rows, FOUND) the best with this part
    cell_out,  # (rows, FOUND)
    rows,
    FIRST: tl.constexpr,
    BEFORE: tl.constexpr,
    CODES: tl.constexpr,  # of this part that can be among the best
    FOUND: tl.constexpr,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    place = tl.arange(0, WIDE)[None, :]
    here = (row < rows) & (column < N)
    x = tl.load(logits + row * N + column, mask=here, other=0.0).to(tl.float32)

    # The best codes, the largest first.
    code = tl.zeros((ROWS, WIDE), tl.int32)
    score = tl.zeros((ROWS, WIDE), tl.float32)
    free = tl.broadcast_to(column < N, (ROWS, COLUMNS))
    for k in range(CODES):
        at = pick(x, free, column, COLUMNS)
        chosen = column == at[:, None]
        code = tl.where(place == k, at[:, None], code)
        score = tl.where(place == k, entry(x, chosen)[:, None], score)
        free = free & (column != at[:, None])

    if FIRST:
        there = (row < rows) & (place < FOUND)
        tl.store(value_out + row * FOUND + place, score.to(value_out.dtype.element_ty), mask=there)
        tl.store(cell_out + row * FOUND + place, code.to(tl.int64), mask=there)
    else:
        there = (row < rows) & (place < BEFORE)
        old = tl.load(value + row * BEFORE + place, mask=there, other=0.0).to(tl.float32)
        old_cell = tl.load(cell + row * BEFORE + place, mask=there, other=0)
        # With each old cell the best code that it has not been merged with yet.
        following = tl.zeros((ROWS, WIDE), tl.int32)
        sums = old + entry(score, place == 0)[:, None]
        open = tl.broadcast_to(place < BEFORE, (ROWS, WIDE))
        for k in range(FOUND):
            at = pick(sums, open, place, WIDE)
            chosen = place == at[:, None]
            j = entry(following, chosen)[:, None]
            number = entry(old_cell, chosen) * N + entry(code, place == j)
            out = row * FOUND + k
            total = entry(sums, chosen)[:, None].to(value_out.dtype.element_ty)
            tl.store(value_out + out, total, mask=row < rows)
            tl.store(cell_out + out, number[:, None], mask=row < rows)
            sums = tl.where(chosen, old + entry(score, place == j + 1)[:, None], sums)
            following = tl.where(chosen, j + 1, following)
            open = open & ((place != at[:, None]) | (j + 1 < CODES))


@triton.jit
def scatter(
    cell,  # (rows, FOUND)
    grad,  # (rows, FOUND)
    out,  # (rows, N)
    rows,
    STRIDE: tl.constexpr,
    FOUND: tl.constexpr,
    N: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    column = tl.arange(0, COLUMNS)[None, :]
    there = row < rows
    sums = tl.zeros((ROWS, COLUMNS), tl.float32)
    for k in range(FOUND):
        code = tl.load(cell + row * FOUND + k, mask=there, other=0) // STRIDE % N
        got = tl.load(grad + row * FOUND + k, mask=there, other=0.0).to(tl.float32)
        sums += tl.where(column == code, got, 0.0)
    tl.store(out + row * N + column, sums.to(out.dtype.element_ty), mask=there & (column < N))
