"""Tape heads in vectorised torch: the equations, and the portable path on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels.recurrence import linear_scan

REACH = 1.5  # range of the gates before clamping, so that they reach exactly 0 and 1


def tape(
    moves: Tensor,
    position: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    cells: int,
    window: int,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient passes the clamps of the gates, so that a gate that is shut learns to open."""
    gates = REACH * moves.double().sigmoid() - (REACH - 1) / 2
    gates = gates + (gates.clamp(0, 1) - gates).detach()  # float64: counts add up
    pad = None
    if lengths is not None:
        time = torch.arange(moves.shape[1], device=moves.device)
        pad = (time >= lengths.unsqueeze(1)).unsqueeze(-1)
        gates = gates.masked_fill(pad, 0)
    push, jump, pop = gates.chunk(3, dim=-1)
    keep, stay = 1 - jump, torch.ones_like(push)
    if reset is not None:
        anew = reset.unsqueeze(-1)
        anew = anew if pad is None else anew & ~pad
        keep, stay = keep.masked_fill(anew, 0), stay.masked_fill(anew, 0)
    written, seen = position.tensor_split(2, dim=-1)
    backwards = torch.arange(push.shape[-1], device=moves.device) % 2 == 1
    written = linear_scan(stay, push, written)
    seen = linear_scan(keep, torch.where(backwards, jump * written - pop, pop), seen)
    write = covered(written - push, push, cells)
    read = seen_through(torch.where(backwards, seen, seen - pop), window, cells)
    index = write[0], read[0]
    weight = write[1].to(moves.dtype), read[1].to(moves.dtype)
    return index[0], weight[0], index[1], weight[1], torch.cat([written, seen], dim=-1)[:, -1]


def covered(begin: Tensor, length: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The two cells from `begin` (B, T, H) on, and how much of each the next `length`, at most 1,
    covers, both (B, T, H, 2)."""
    border = begin.detach().floor() + 1
    index = torch.stack([border.long() - 1, border.long()], dim=-1).remainder(cells)
    first = torch.minimum(length, border - begin)
    return index, torch.stack([first, length - first], dim=-1)


def seen_through(begin: Tensor, window: int, cells: int) -> tuple[Tensor, Tensor]:
    """The cells around `begin` (B, T, H), and how much of each the next 1 covers, both (B, T, H,
    2 window): all but two are 0, and have a gradient, as if a triangle of `window` cells on each
    side were read. So a position is drawn to a cell some steps away."""
    offset = torch.arange(1 - window, 1 + window, device=begin.device)
    begin = begin.unsqueeze(-1)
    cell = begin.detach().floor() + offset
    apart = cell - begin.detach()
    slope = apart.sign() * (apart.abs() < window) / window**2
    weight = (1 - apart.abs()).clamp_min(0) + slope * (begin - begin.detach())
    return cell.long().remainder(cells), weight
