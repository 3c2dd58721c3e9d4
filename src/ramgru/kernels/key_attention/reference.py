"""Attention over a window as its equations: all pairs of steps at once.

Shapes as in `kernels.key_attention`. Source: softmax attention, arXiv 1706.03762, §3.2.1, with a
gate a key and a null key.
"""

from __future__ import annotations

import torch
from torch import Tensor


def key_attention(
    y: Tensor,
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    gate: Tensor,
    candidate: Tensor,
    null: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    *,
    window: int,
) -> Tensor:
    """y, with the gradient of y + attention"""
    attended = attention(query, key, scale, gate, candidate, null, reset, lengths, window=window)
    return y + (attended - attended.detach())


def attention(
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    gate: Tensor,
    candidate: Tensor,
    null: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    *,
    window: int,
) -> Tensor:
    """sum_s p_s c_s with p_s = gate_s e^(score_s) / (sum_s gate_s e^(score_s) + e^null)"""
    (B, T, _, A), device = query.shape, query.device
    step = torch.arange(T, device=device)
    age = step.unsqueeze(1) - step  # (T, T): of the key of a column at the query of a row
    seen = ((age >= 0) & (age < window)).expand(B, T, T)
    if reset is not None:
        segment = reset.cumsum(1)
        seen = seen & (segment.unsqueeze(2) == segment.unsqueeze(1))
    if lengths is not None:
        held = step < lengths.unsqueeze(1)
        seen = seen & held.unsqueeze(2) & held.unsqueeze(1)
    seen = seen.unsqueeze(1)  # (B, 1, T, T)
    score = torch.einsum("btha,bsha->bhts", query, key) * (scale / A).view(-1, 1, 1)
    null = null.view(-1, 1, 1)
    largest = torch.maximum(score.masked_fill(~seen, -torch.inf).amax(-1, keepdim=True), null)
    largest = largest.detach().clamp_min(torch.finfo(score.dtype).min)  # -inf: no key and no null
    weight = (
        gate.permute(0, 2, 1).unsqueeze(2) * (score - largest).masked_fill(~seen, -torch.inf).exp()
    )
    total = weight.sum(-1, keepdim=True) + (null - largest).exp()
    share = weight / total.masked_fill(total == 0, torch.inf)  # no weight at all: 0
    return torch.einsum("bhts,bshd->bthd", share, candidate)
