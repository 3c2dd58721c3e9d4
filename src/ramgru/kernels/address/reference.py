"""Addresses as their equations: every cell is scored, steps are taken one by one.

Shapes as in `kernels.address`. Source: product keys, arXiv 1907.05242, §3.1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


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
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Cell (i_1, …, i_U) scores sum_u query_u · code_u[i_u]; queries and codes are normalised."""
    H, W, T = codes.shape[0], before.shape[1], key.shape[1]
    books = normalize(codes, dim=-1).split(sizes, dim=1)

    def nearest(key: Tensor) -> tuple[Tensor, Tensor]:
        key = unit(key.unflatten(-1, (H, -1)))
        query = (torch.einsum("hfa,btha->bthf", features, key) + phases).cos()
        query = query - centre(features, phases)
        parts = normalize(query.unflatten(-1, (len(sizes), -1)), dim=-1)
        score = torch.zeros((), dtype=key.dtype, device=key.device)
        for part, book in zip(parts.unbind(-2), books, strict=True):
            one = part.shape[-1] ** 0.5 * torch.einsum("bthd,hnd->bthn", part, book)
            score = (score.unsqueeze(-1) + one.unsqueeze(-2)).flatten(-2) if score.dim() else one
        score = score * sharpness.exp().unsqueeze(-1)
        return score.topk(min(max(writes, reads), score.shape[-1]), dim=-1)

    value, cell = nearest(torch.cat([before, key], dim=1))
    zero_value, zero_cell = nearest(torch.zeros_like(key[:1, :1]))
    values, cells = [], []
    for t in range(T):
        for h, offset in enumerate(offsets):
            outside = starts_between(reset, t, offset, key).unsqueeze(-1)
            values.append(torch.where(outside, zero_value[0, 0, h], value[:, W + t - offset, h]))
            cells.append(torch.where(outside, zero_cell[0, 0, h], cell[:, W + t - offset, h]))
    write_value = torch.stack(values, dim=1).unflatten(1, (T, H))[..., :writes]
    write_cell = torch.stack(cells, dim=1).unflatten(1, (T, H))[..., :writes]
    write = (write_value - write_value[..., :1]).exp()
    read = value[:, W:, :, :reads].softmax(dim=-1)
    return write_cell, write, cell[:, W:, :, :reads], read


def centre(features: Tensor, phases: Tensor) -> Tensor:
    """(H, U·F) the mean of cos(features u + phases) over random keys u. Without it, keys of a small
    bandwidth share a large part of their queries, and crowd into few cells."""
    return (-features.square().sum(dim=-1) / 2).exp() * phases.cos()


def unit(key: Tensor) -> Tensor:
    """key sqrt(A / sum of squares), 0 for a zero key"""
    length = key.norm(dim=-1, keepdim=True)
    zero = length == 0
    return (key * key.shape[-1] ** 0.5 / length.masked_fill(zero, 1)).masked_fill(zero, 0)


def short_convolution(x: Tensor, before: Tensor, taps: Tensor, reset: Tensor | None) -> Tensor:
    """y[t] = sum_o taps[o] x[t - o], where x is 0 before a reset"""
    W, every = before.shape[1], torch.cat([before, x], dim=1)
    steps = []
    for t in range(x.shape[1]):
        total = torch.zeros_like(x[:, t])
        for offset, tap in enumerate(taps):
            outside = starts_between(reset, t, offset, x).unsqueeze(-1)
            total = total + tap * every[:, W + t - offset].masked_fill(outside, 0)
        steps.append(total)
    return torch.stack(steps, dim=1)


def starts_between(reset: Tensor | None, t: int, offset: int, x: Tensor) -> Tensor:
    """(B,): whether a sequence starts anew after step t - offset and not after step t."""
    if reset is None:
        return torch.zeros(x.shape[0], dtype=torch.bool, device=x.device)
    return reset[:, max(0, t - offset + 1) : t + 1].any(dim=1)
