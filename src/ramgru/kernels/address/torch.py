"""Addresses in vectorised torch: the portable path, on any device.

The nearest cells are found without scoring every cell: the best codes of each codebook, merged
codebook by codebook, are exactly the best of all cells (product keys, arXiv 1907.05242, §3.1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels import dispatch

BEST = dispatch.Operation("best_cells", "product_keys_forward", "ramgru.kernels.address.triton")


def product_keys(
    query: Tensor,
    before: Tensor,
    nothing: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: Tensor | None,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    H, W = codes.shape[0], before.shape[1]
    books = torch.nn.functional.normalize(codes, dim=-1).split(sizes, dim=1)

    def nearest(query: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H·U·A) -> scores and cells of the nearest (B, T, H, K)"""
        parts = query.unflatten(-1, (H, len(sizes), -1))
        # With codes and queries of one length, no cell is nearer to every query than the others.
        length = parts.square().sum(dim=-1, keepdim=True).clamp_min(1e-24)
        parts = parts * (parts.shape[-1] / length).sqrt()
        logits = [
            torch.einsum("bthd,hnd->bthn", part, book)
            for part, book in zip(parts.unbind(-2), books, strict=True)
        ]
        value, cell = best(logits, max(writes, reads))
        return value * sharpness.exp().unsqueeze(-1), cell

    value, cell = nearest(torch.cat([before, query], dim=1))
    nothing_value, nothing_cell = nearest(nothing.view(1, 1, -1))
    values, cells = [], []
    for h, offset in enumerate(offsets):
        v, c = (shift(each[:, :, h], offset, W) for each in (value, cell))
        if reset is not None and offset:
            outside = reset_between(reset, offset).unsqueeze(-1)
            v = torch.where(outside, nothing_value[:, :, h], v)
            c = torch.where(outside, nothing_cell[:, :, h], c)
        values.append(v)
        cells.append(c)
    write_value = torch.stack(values, dim=2)[..., :writes]
    write_cell = torch.stack(cells, dim=2)[..., :writes]
    write = (write_value - write_value[..., :1]).exp()
    read = value[:, W:, :, :reads].softmax(dim=-1)
    return write_cell, write, cell[:, W:, :, :reads], read


def best(logits: list[Tensor], K: int) -> tuple[Tensor, Tensor]:
    """The K largest sums of one logit from each codebook -> sums and cells (..., K).

    logits: a list of (..., n_u). A cell is the number of (i_1, …, i_U) in mixed radix.
    """
    if BEST.choose(*logits).path == dispatch.TRITON:
        from ramgru.kernels.address import triton

        if triton.takes(logits):
            return triton.best(logits, K)
    value, cell = logits[0].topk(min(K, logits[0].shape[-1]), dim=-1)
    for part in logits[1:]:
        n = part.shape[-1]
        more, index = part.topk(min(K, n), dim=-1)
        sums = (value.unsqueeze(-1) + more.unsqueeze(-2)).flatten(-2)
        cells = (cell.unsqueeze(-1) * n + index.unsqueeze(-2)).flatten(-2)
        value, order = sums.topk(min(K, sums.shape[-1]), dim=-1)
        cell = cells.gather(-1, order)
    return value, cell


def short_convolution(
    x: Tensor, before: Tensor, nothing: Tensor, taps: Tensor, reset: Tensor | None
) -> tuple[Tensor]:
    every = torch.cat([before, x], dim=1)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for offset, tap in enumerate(taps.unbind(0)):
        there = shift(every, offset, before.shape[1])
        if reset is not None and offset:
            there = torch.where(reset_between(reset, offset).unsqueeze(-1), nothing, there)
        total = total + tap * there
    return (total,)


def shift(x: Tensor, offset: int, before: int) -> Tensor:
    """x (B, before + T, …) -> (B, T, …), `offset` steps before each of the T steps."""
    return x[:, before - offset : x.shape[1] - offset]


def reset_between(reset: Tensor, offset: int) -> Tensor:
    """(B, T): whether a sequence starts anew between each step and the step `offset` before."""
    segment = torch.nn.functional.pad(reset.long().cumsum(1), (offset, 0))
    return shift(segment, offset, offset) != segment[:, offset:]
