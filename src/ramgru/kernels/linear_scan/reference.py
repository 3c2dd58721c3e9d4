"""A linear recurrence, as its equation is: h[t] = decay[t] h[t-1] + update[t]."""

from __future__ import annotations

import torch
from torch import Tensor


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor) -> Tensor:
    """decay, update (B, T, H), initial (B, H) -> (B, T, H)"""
    h, states = initial, []
    for t in range(decay.shape[1]):
        h = decay[:, t] * h + update[:, t]
        states.append(h)
    return torch.stack(states, dim=1) if states else update
