"""Tape heads in vectorised torch: the equations, and the portable path on any device."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels.recurrence import linear_scan

GAIN = 5.0  # scales the logits so that addresses learn five times faster than values
REACH = 1.2  # range of the gates before clamping, so that they reach exactly 0 and 1


def tape(
    moves: Tensor, position: Tensor, reset: Tensor | None, lengths: Tensor | None, cells: int
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The gradient passes the clamps of the gates, so that a gate that is shut learns to open."""
    gates = REACH * (GAIN * moves).double().sigmoid() - (REACH - 1) / 2
    gates = gates + (gates.clamp(0, 1) - gates).detach()  # float64: counts add up
    pad = None
    if lengths is not None:
        time = torch.arange(moves.shape[1], device=moves.device)
        pad = (time >= lengths.unsqueeze(1)).unsqueeze(-1)
        gates = gates.masked_fill(pad, 0)
    push, jump, pop = gates.chunk(3, dim=-1)
    heads = push.shape[-1]
    stack = torch.arange(heads, device=moves.device) % 2 == 1
    keep = torch.cat([1 - jump * stack, 1 - jump], dim=-1)
    if reset is not None:
        anew = reset.unsqueeze(-1)
        keep = keep.masked_fill(anew if pad is None else anew & ~pad, 0)
    net = push - pop
    move = torch.cat([torch.where(stack, net, push), torch.where(stack, net, pop)], dim=-1)
    after = linear_scan(keep, move, position)
    begin = after - move  # after the jump, before the move
    low = begin[..., heads:] + (net * stack).clamp(max=0)
    write = covered(begin[..., :heads], push, cells)
    read = covered(low, torch.ones_like(low), cells)
    index = write[0], read[0]
    weight = write[1].to(moves.dtype), read[1].to(moves.dtype)
    return index[0], weight[0], index[1], weight[1], after[:, -1]


def covered(begin: Tensor, length: Tensor, cells: int) -> tuple[Tensor, Tensor]:
    """The two cells from `begin` (B, T, H) on, and how much of each the next `length`, at most 1,
    covers, both (B, T, H, 2)."""
    border = begin.detach().floor() + 1
    index = torch.stack([border.long() - 1, border.long()], dim=-1).remainder(cells)
    first = torch.minimum(length, border - begin)
    return index, torch.stack([first, length - first], dim=-1)
