"""Addresses in vectorised torch: the portable path, on any device.

The nearest cells are found without scoring every cell: the best codes of each codebook, merged
codebook by codebook, are exactly the best of all cells (product keys, arXiv 1907.05242, §3.1).
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.address.reference import centre

BEST = dispatch.Operation("best_cells", "product_keys_forward", "ramgru.kernels.address.triton")


def product_keys(
    key: Tensor,
    before: Tensor,
    features: Tensor,
    phases: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: Tensor | None,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
    hashed: tuple[Tensor, ...] | None = None,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    H, W = codes.shape[0], before.shape[1]
    books = torch.nn.functional.normalize(codes, dim=-1).split(sizes, dim=1)

    def nearest(key: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H·A) -> scores and cells of the nearest (B, T, H, K)"""
        (key,) = unit(key.unflatten(-1, (H, -1)))
        query = (torch.einsum("btha,hfa->bthf", key, features) + phases).cos()
        query = query - centre(features, phases)
        parts = query.unflatten(-1, (len(sizes), -1))
        # With codes and queries of one length, no cell is nearer to every query than the others.
        length = parts.square().sum(dim=-1, keepdim=True).clamp_min(1e-24)
        parts = parts * (parts.shape[-1] / length).sqrt()
        logits = [
            torch.einsum("bthd,hnd->bthn", part, book)
            for part, book in zip(parts.unbind(-2), books, strict=True)
        ]
        value, cell = best(logits, max(writes, reads))
        return value * sharpness.exp().unsqueeze(-1), cell

    value, cell = nearest(torch.cat([before, key], dim=1))
    if reset is not None:
        zero_value, zero_cell = nearest(torch.zeros_like(features[:, 0]).view(1, 1, -1))
    values, cells, h = [], [], 0
    for offset, same in itertools.groupby(offsets):
        heads = slice(h, h := h + len(list(same)))
        v, c = (shift(each[:, :, heads], offset, W) for each in (value, cell))
        if reset is not None and offset:
            outside = reset_between(reset, offset)[..., None, None]
            v = torch.where(outside, zero_value[:, :, heads], v)
            c = torch.where(outside, zero_cell[:, :, heads], c)
        values.append(v)
        cells.append(c)
    write_value, write_cell = (
        (torch.cat(each, dim=2) if len(each) > 1 else each[0])[..., :writes]
        for each in (values, cells)
    )
    write = (write_value - write_value[..., :1]).exp()
    read = value[:, W:, :, :reads].softmax(dim=-1)
    return write_cell, write, cell[:, W:, :, :reads], read


def best(logits: list[Tensor], K: int) -> tuple[Tensor, Tensor]:
    """The K largest sums of one logit from each codebook -> sums and cells (..., K).

    logits: a list of (..., n_u), without gradient. A cell is the number of (i_1, …, i_U) in mixed
    radix.
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


def unit(key: Tensor) -> tuple[Tensor]:
    # Divided by the largest number first: squares then neither overflow nor vanish.
    largest = key.detach().abs().amax(dim=-1, keepdim=True)
    zero = largest == 0
    key = key / largest.masked_fill(zero, 1)
    mean = key.square().mean(dim=-1, keepdim=True)
    return (key * mean.masked_fill(zero, 1).rsqrt().masked_fill(zero, 0),)


def tag_rows(
    candidate: Tensor,
    key_a: Tensor | None,
    key_b: Tensor | None,
    query_a: Tensor | None,
    query_b: Tensor | None,
    tag: int,
    heads: tuple[int, ...],
) -> tuple[Tensor, Tensor]:
    B, T, G, _ = candidate.shape

    def tags(*keys: Tensor | None) -> Tensor:
        given = [key[..., :tag].to(candidate.dtype) for key in keys if key is not None]
        free = G - sum(key.shape[2] for key in given)
        return torch.cat([*given, candidate.new_zeros(B, T, free, tag)], dim=2)

    return torch.cat([candidate, tags(key_a, key_b)], dim=-1), tags(query_a, query_b)


def short_convolution(
    x: Tensor, before: Tensor, taps: Tensor, reset: Tensor | None
) -> tuple[Tensor]:
    every = torch.cat([before, x], dim=1)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for offset, tap in enumerate(taps.unbind(0)):
        total = total + tap * earlier(every, offset, before.shape[1], reset)
    return (total,)


def shift(x: Tensor, offset: int, before: int) -> Tensor:
    """x (B, before + T, …) -> (B, T, …), `offset` steps before each of the T steps."""
    return x[:, before - offset : x.shape[1] - offset]


def earlier(x: Tensor, offset: int, before: int, reset: Tensor | None) -> Tensor:
    """As `shift`, but 0 where a sequence starts anew in between, by reset (B, T)."""
    there = shift(x, offset, before)
    if reset is None or not offset:
        return there
    outside = reset_between(reset, offset)
    return there.masked_fill(outside.view(*outside.shape, *[1] * (x.dim() - 2)), 0)


def reset_between(reset: Tensor, offset: int) -> Tensor:
    """(B, T): whether a sequence starts anew between each step and the step `offset` before."""
    segment = torch.nn.functional.pad(reset.long().cumsum(1), (offset, 0))
    return shift(segment, offset, offset) != segment[:, offset:]
