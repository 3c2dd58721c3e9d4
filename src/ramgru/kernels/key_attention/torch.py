"""The gradient of attention over a window in vectorised torch: the portable path, on any device.

The equations stand at the top of `key_attention.h`. Each operation here is differentiable, so
derivatives of higher order run through this code.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 128  # queries at a time, with all keys of their windows


def key_attention_backward(
    grad: Tensor,
    query: Tensor,
    key: Tensor,
    scale: Tensor,
    gate: Tensor,
    candidate: Tensor,
    null: Tensor,
    reset: Tensor | None,
    lengths: Tensor | None,
    window: int,
) -> tuple[Tensor, ...]:
    """grad (B, T, H, D) is attention's -> of query, key, scale, gate, candidate and null"""
    given = (query, key, scale, gate, candidate, null)
    T, A, device = query.shape[1], query.shape[3], query.device
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    g, u, k, z, c = (  # (B, H, T, ...)
        x.to(wide).transpose(1, 2) for x in (grad, query, key, gate.unsqueeze(-1), candidate)
    )
    factor, null = scale.to(wide).view(-1, 1, 1) / A, null.to(wide).view(-1, 1, 1)
    most = 1e300 if wide == torch.float64 else 1e30  # a bound of exponentials and of scores
    step = torch.arange(T, device=device)
    segment = torch.zeros(1, T, device=device) if reset is None else reset.long().cumsum(1)
    ends = torch.full((1,), T, device=device) if lengths is None else lengths

    of_query, of_source, of_scale, of_null = [], [], [], []
    carry = torch.cat([k, z, c], dim=-1)[:, :, :0]  # gradients of keys that the next block sees too
    for start in range(0, T, BLOCK):
        stop, begin = min(T, start + BLOCK), max(0, start - window + 1)
        old = start - begin  # keys before the block
        t, s = slice(start, stop), slice(begin, stop)
        age = step[t, None] - step[s]
        seen = (age >= 0) & (age < window) & (segment[:, t, None] == segment[:, None, s])
        seen = (seen & (step[t] < ends[:, None]).unsqueeze(2)).unsqueeze(1)  # (B, 1, queries, keys)

        product = u[:, :, t] @ k[:, :, s].mT
        score = (factor * product).masked_fill(~seen, -torch.inf)
        top = torch.maximum(score.amax(-1, keepdim=True), null).clamp_min(-most).detach()
        e, e_null, gates = (score - top).exp(), (null - top).exp(), z[:, :, s].mT
        total = (gates * e).sum(-1, keepdim=True) + e_null
        inverse = 1 / total.masked_fill(
            total < 1 / most, torch.inf
        )  # no weight at all: no gradient
        share, inner = e * inverse, g[:, :, t] @ c[:, :, s].mT
        mean = (gates * share * inner).sum(-1, keepdim=True)
        of_gate = share * (inner - mean)
        of_score = gates * of_gate

        of_query.append(factor * (of_score @ k[:, :, s]))
        of_scale.append((of_score * product).sum((0, 2, 3)) / A)
        of_null.append(-(e_null * inverse * mean).sum((0, 2, 3)))
        source = torch.cat(
            [
                factor * (of_score.mT @ u[:, :, t]),
                of_gate.sum(-2).unsqueeze(-1),
                (gates * share).mT @ g[:, :, t],
            ],
            dim=-1,
        )
        source = torch.cat([source[:, :, :old] + carry, source[:, :, old:]], dim=2)
        done = max(0, stop - window + 1) - begin
        of_source.append(source[:, :, :done])
        carry = source[:, :, done:]
    of_source.append(carry)
    of_key, of_gate, of_candidate = (
        x.transpose(1, 2) for x in torch.cat(of_source, dim=2).split([A, 1, c.shape[-1]], dim=-1)
    )
    found = (
        torch.cat(of_query, dim=2).transpose(1, 2),
        of_key,
        torch.stack(of_scale).sum(0),
        of_gate.squeeze(-1),
        of_candidate,
        torch.stack(of_null).sum(0),
    )
    return tuple(x.to(like.dtype) for x, like in zip(found, given, strict=True))
