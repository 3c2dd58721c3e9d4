"""`torch.nn.GRU` in torch, step by step. B sequences, T steps, H units."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import linear


def gru(
    projected: Tensor,  # (B, T, 3 H): W_ih x + b_ih for r, z, n
    initial: Tensor,  # (B, H), h before the first step
    weight_hh: Tensor,  # (3 H, H)
    bias_hh: Tensor | None,  # (3 H,)
    reset: Tensor | None = None,  # (B, T) True where h is zero again before the step
    lengths: Tensor | None = None,  # (B,) steps that count
    learns: bool = True,  # whether a backward pass may follow: nothing to torch code
) -> tuple[Tensor, Tensor]:
    """-> h (B, T, H), 0 behind a sequence's end, and h at its end (B, H)

    r, z = sigmoid(x + W h + b);  n = tanh(x + r (W h + b));  h <- (1 - z) n + z h
    """
    wide = torch.promote_types(initial.dtype, torch.float32)
    x, h, weight = projected.to(wide), initial.to(wide), weight_hh.to(wide)
    bias = None if bias_hh is None else bias_hh.to(wide)
    states = []
    for t in range(x.shape[1]):
        before = h if reset is None else h.masked_fill(reset[:, t, None], 0)
        xr, xz, xn = x[:, t].chunk(3, dim=-1)
        hr, hz, hn = linear(before, weight, bias).to(wide).chunk(3, dim=-1)
        r, z = torch.sigmoid(xr + hr), torch.sigmoid(xz + hz)
        after = (1 - z) * torch.tanh(xn + r * hn) + z * before
        if lengths is None:
            h = after
            states.append(after)
        else:
            counts = t < lengths.unsqueeze(1)
            h = torch.where(counts, after, h)
            states.append(torch.where(counts, after, 0))
    return torch.stack(states, dim=1).to(initial.dtype), h.to(initial.dtype)
