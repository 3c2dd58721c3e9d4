"""The selective state space of Mamba-2 (arXiv 2405.21060): as a loop, and in chunks.

    S[t] = exp(l[t]) S[t-1] + v[t] k[t]^T,   y[t] = S[t] q[t]

one l and one memory S a head, keys and queries of all heads the same. B sequences, T steps, H
heads, P value channels, D key channels. Both functions take q, k (B, T, D), v (B, T, H, P),
log_decay l (B, T, H), memory (B, H, P, D), S before the first step, and reset (B, T), True where a
step starts from an empty memory; they give y (B, T, H, P) and the memory after the last step.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.lab.peers.decayed_memory import carry, cut

CHUNK = 32  # steps


def loop(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Step by step: the reference, made to be read."""
    outputs = [v[:, :0]]
    for t in range(q.shape[1]):
        if reset is not None:
            memory = memory.masked_fill(reset[:, t, None, None, None], 0)
        memory = log_decay[:, t].exp()[..., None, None] * memory
        memory = memory + torch.einsum("bhp,bd->bhpd", v[:, t], k[:, t])
        outputs.append(torch.einsum("bhpd,bd->bhp", memory, q[:, t]).unsqueeze(1))
    return torch.cat(outputs, dim=1), memory


def chunks(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    log_decay: Tensor,
    memory: Tensor,
    reset: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """The same with products of matrices, CHUNK steps at a time (arXiv 2405.21060, §6).

    y[t] = A[t] S q[t] + sum_{s<=t} A[t,s] (q[t] · k[s]) v[s], with A[t,s] the decays between s and
    t, and A[t] those from the start of the chunk, both 0 across a reset.
    """
    T, (H, P) = q.shape[1], v.shape[2:]
    C = min(CHUNK, max(1, T))
    # Steps that are filled in neither decay the memory (l = 0) nor write to it (v = 0).
    q, k, v, log_decay = (cut(x, C) for x in (q, k, v, log_decay))

    log_decay = log_decay.transpose(2, 3)  # (B, N, H, C)
    step = torch.arange(C, device=q.device)
    hidden, after = step > step.unsqueeze(1), step.unsqueeze(1) > step  # (t, s) and (u, s)
    # log A[t, s], the sum of l[u] over s < u <= t: a difference of two sums from the start would
    # keep few digits of it where much has decayed before.
    between = log_decay.unsqueeze(-2).masked_fill(hidden, 0) @ after.to(log_decay.dtype)
    from_start = log_decay.cumsum(-1)
    if reset is not None:
        segment = cut(reset, C).long().cumsum(-1).unsqueeze(2)
        hidden = hidden | (segment.unsqueeze(-1) != segment.unsqueeze(-2))
        from_start = from_start.masked_fill(segment > 0, -torch.inf)
    between = between.masked_fill(hidden, -torch.inf).exp()  # (B, N, H, C, C)
    from_start, to_end = from_start.exp(), between[..., -1, :]

    def by_step(share: Tensor) -> Tensor:
        """(B, N, H, C) -> (B, N, C, H, 1)"""
        return share.transpose(2, 3).unsqueeze(-1)

    added = (by_step(to_end) * v).flatten(3).mT @ k  # (B, N, H P, D)
    kept = from_start[..., -1:].unsqueeze(-1)
    before, memory = carry(added.unflatten(2, (H, P)), kept, memory)
    seen = (q @ before.flatten(2, 3).mT).unflatten(3, (H, P))
    inside = (between * (q @ k.mT).unsqueeze(2)) @ v.transpose(2, 3)  # (B, N, H, C, P)
    y = torch.addcmul(inside.transpose(2, 3), by_step(from_start), seen)
    return y.flatten(1, 2)[:, :T], memory
