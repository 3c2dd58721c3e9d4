"""A causal convolution over a short window, each channel by its own taps, that stops at resets."""

from __future__ import annotations

import torch
from torch import Tensor


def shift(x: Tensor, offset: int, before: int) -> Tensor:
    """x (B, before + T, …) -> (B, T, …), `offset` steps before each of the T steps."""
    return x[:, before - offset : x.shape[1] - offset]


def behind_reset(reset: Tensor, offset: int) -> Tensor:
    """(B, T): whether a reset lies between each step and the one `offset` steps before."""
    segment = torch.nn.functional.pad(reset.long().cumsum(1), (offset, 0))
    return shift(segment, offset, offset) != segment[:, offset:]


def short_convolution(
    x: Tensor,  # (B, T, C)
    before: Tensor,  # (B, W, C) the W steps before the first
    nothing: Tensor,  # (C,) stands for a step behind a reset
    taps: Tensor,  # (W + 1, C) the tap of a step itself, of the step before it, …
    reset: Tensor | None,  # (B, T)
) -> tuple[Tensor]:
    """y[t] = sum_o taps[o] x[t - o] -> (B, T, C)"""
    every = torch.cat([before, x], dim=1)
    total = torch.zeros((), dtype=x.dtype, device=x.device)
    for offset, tap in enumerate(taps.unbind(0)):
        there = shift(every, offset, before.shape[1])
        if reset is not None and offset:
            there = torch.where(behind_reset(reset, offset).unsqueeze(-1), nothing, there)
        total = total + tap * there
    return (total,)
