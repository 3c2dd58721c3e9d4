"""Product keys in torch: the best of each codebook, merged two by two, are the best of all cells.

B sequences, T steps, H heads, K cells an address, U codebooks of n_u codes each, A address width of
one head and codebook, W steps of context before the first. Source: arXiv 1907.05242, §3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels import fused, gpu
from ramgru.kernels.short_convolution.parts import behind_reset, shift


def product_keys(
    query: Tensor,  # (B, T, H·U·A)
    before: Tensor,  # (B, W, H·U·A) queries of the W steps before
    nothing: Tensor,  # (H·U·A) what stands for a step on the other side of a reset
    codes: Tensor,  # (H, n_1 + … + n_U, A) codebook after codebook
    sharpness: Tensor,  # (H,) logarithm of what the scores are multiplied with
    reset: Tensor | None,  # (B, T) True where a step begins anew
    writes: int,  # cells
    reads: int,
    sizes: tuple[int, ...],  # n_1 … n_U
    offsets: tuple[int, ...],  # (H) a head writes at the address of so many steps before, <= W
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> cells to write and their weights (B, T, H, writes), cells to read and theirs (…, reads).

    Of the max(writes, reads) nearest cells, nearest first, the first `writes` are written and the
    first `reads` are read; at most all cells. The weights of a write are exp(score - best score),
    so that the nearest cell is written in full. The weights of a read are a softmax over its cells.
    """
    H, W = codes.shape[0], before.shape[1]
    books = torch.nn.functional.normalize(codes, dim=-1).split(sizes, dim=1)

    def score(query: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H·U·A) -> values and cells of the nearest (B, T, H, K)"""
        parts = query.unflatten(-1, (H, len(sizes), -1))
        # Unit codes and queries of one length: no cell is nearer to everything than the others.
        length = parts.square().sum(dim=-1, keepdim=True).clamp_min(1e-24)
        parts = parts * (parts.shape[-1] / length).sqrt()
        logits = [
            torch.einsum("bthd,hnd->bthn", part, book)
            for part, book in zip(parts.unbind(-2), books, strict=True)
        ]
        value, cell = best(logits, max(writes, reads))
        return value * sharpness.exp().unsqueeze(-1), cell

    value, cell = score(torch.cat([before, query], dim=1))
    nothing_value, nothing_cell = score(nothing.view(1, 1, -1))
    values, cells = [], []
    for h, offset in enumerate(offsets):
        v, c = (shift(each[:, :, h], offset, W) for each in (value, cell))
        if reset is not None and offset:
            outside = behind_reset(reset, offset).unsqueeze(-1)
            v = torch.where(outside, nothing_value[:, :, h], v)
            c = torch.where(outside, nothing_cell[:, :, h], c)
        values.append(v)
        cells.append(c)
    write_value = torch.stack(values, dim=2)[..., :writes]
    write_cell = torch.stack(cells, dim=2)[..., :writes]
    write = (write_value - write_value[..., :1]).exp()
    read = value[:, W:, :, :reads].softmax(dim=-1)
    return write_cell, write, cell[:, W:, :, :reads], read


def best(logits: list[Tensor], top_k: int) -> tuple[Tensor, Tensor]:
    """The top_k largest sums of one logit from each part -> values and cells, (..., K).

    logits: a list of (..., n_u); the cell of (i_1, …, i_U) is its number in mixed radix.
    """
    if fused.is_plain() and gpu.takes(*logits):
        from ramgru.kernels.product_keys import triton_best

        if triton_best.takes(logits):
            return triton_best.best(logits, top_k)
    value, cell = logits[0].topk(min(top_k, logits[0].shape[-1]), dim=-1)
    for part in logits[1:]:
        n = part.shape[-1]
        more, index = part.topk(min(top_k, n), dim=-1)
        sums = (value.unsqueeze(-1) + more.unsqueeze(-2)).flatten(-2)
        cells = (cell.unsqueeze(-1) * n + index.unsqueeze(-2)).flatten(-2)
        value, order = sums.topk(min(top_k, sums.shape[-1]), dim=-1)
        cell = cells.gather(-1, order)
    return value, cell
