"""minGRU in torch: h[t] = (1 - z[t]) h[t-1] + z[t] n[t], z = sigmoid(z'), (z', n) projected.

B sequences, T steps, H units. Source: arXiv 2410.01201, §3.1, with the gate not yet squashed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels.linear_scan import linear_scan


def mingru(
    projected: Tensor,  # (B, T, 2 H): z', then n
    initial: Tensor,  # (B, H), h before the first step; its dtype is that of the recurrence
    reset: Tensor | None,  # (B, T) True where h is zero again before the step
    lengths: Tensor | None,  # (B,) steps that count
) -> tuple[Tensor, Tensor]:
    """-> h (B, T, H), 0 behind a sequence's end, and h at its end (B, H)"""
    # Under autocast the state, and so the recurrence, stays as wide as it came.
    z, n = projected.to(initial.dtype).chunk(2, dim=-1)
    z = torch.sigmoid(z)
    keep, update = 1 - z, z * n
    pad = None
    if lengths is not None:
        pad = (torch.arange(z.shape[1], device=z.device) >= lengths.unsqueeze(1)).unsqueeze(-1)
    if reset is not None:
        keep = keep.masked_fill(reset.unsqueeze(-1), 0)
    if pad is not None:
        keep, update = keep.masked_fill(pad, 1), update.masked_fill(pad, 0)
    h = linear_scan(keep, update, initial)
    return (h if pad is None else h.masked_fill(pad, 0)), h[:, -1].to(initial.dtype)
