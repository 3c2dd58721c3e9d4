"""Rotary positions: channels of queries and keys turned by place (arXiv 2104.09864)."""

from __future__ import annotations

import torch
from torch import Tensor


def places(length: Tensor, steps: int, reset: Tensor | None) -> Tensor:
    """(B, T) how many steps of its sequence lie before each step, of which `length` (B,) came
    before the first; a reset (B, T) begins to count anew."""
    step = torch.arange(steps, device=length.device)
    place = length.unsqueeze(1) + step
    if reset is None:
        return place
    latest = torch.where(reset, step, -1).cummax(1).values
    return torch.where(latest < 0, place, step - latest)


def rotate(x: Tensor, place: Tensor) -> Tensor:
    """x (B, heads, T, D) turned by its place (B, T), pair by pair of channels.

    Of an odd D the last channel stays as it is.
    """
    half = x.shape[-1] // 2
    rate = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.float64) / max(1, half))
    angle = (place.unsqueeze(-1) * rate).unsqueeze(1)  # (B, 1, T, D / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)
