"""Mamba-2: a selective state space, which decays and is written as the input says
(arXiv 2405.21060).

    S[t] = exp(l[t]) S[t-1] + v[t] k[t]^T,   y[t] = S[t] q[t]

with one l and one memory S a head; all heads share keys and queries. B sequences, T steps, H heads,
P value channels, D key channels.

The recurrence is here twice: `ssm_loop` is the reference, `ssm_chunks` the fast path. Both take q,
k (B, T, D), v (B, T, H, P), log_decay l (B, T, H), memory (B, H, P, D), S before the first step,
and reset (B, T), True at steps that start from an empty memory. They return y (B, T, H, P) and the
memory after the last step.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu, softplus

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers.base import (
    MemoryState,
    Mixer,
    Ragged,
    ShortConvolution,
    at_least_one,
    carry,
    cut,
)

CHUNK = 32  # steps
EPSILON = 1e-5  # added to mean squares before the root


class Mamba2(Mixer):
    """S <- exp(-exp(A) d) S + d v k^T;  y = W_o RMSNorm((S q + D v) * SiLU(z)), in each head.

    (z, u, r) = W x;  v, k, q = SiLU(convolution(u) + b), the paper's x, B, C, where k and q are
    shared by the heads;  d = softplus(r + c), the paper's dt;  the norm is over all heads together

    hidden_size: values of all heads together; None: expand d_model
    d_state: width of k and q; the state keeps that many numbers a value

    The memory of the state is (B, H, P, D).
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 4,
        d_state: int = 64,
        expand: int = 2,
    ) -> None:
        super().__init__()
        at_least_one(heads=heads, d_state=d_state, expand=expand)
        self.heads, self.d_state = heads, d_state
        self.head_size = math.ceil((hidden_size or expand * d_model) / heads)
        self.hidden_size = heads * self.head_size
        self.memory_shape = (heads, self.head_size, d_state)
        mixed = self.hidden_size + 2 * d_state
        self.widths = [self.hidden_size, mixed, heads]
        self.project_in = Projection(d_model, sum(self.widths), bias=False)
        self.convolution = ShortConvolution(mixed)
        self.convolution_bias = nn.Parameter(torch.zeros(mixed))
        self.log_speed = nn.Parameter(torch.empty(heads).uniform_(1, 16).log())  # A
        start = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.step_bias = nn.Parameter(start.expm1().log())  # the inverse of softplus
        self.skip = nn.Parameter(torch.ones(heads))
        self.norm = nn.Parameter(torch.ones(self.hidden_size))
        self.project = Projection(self.hidden_size, d_model, bias=False)

    def mix(self, x: Tensor, state: MemoryState, ragged: Ragged) -> tuple[Tensor, MemoryState]:
        padding, lengths, reset = ragged
        gate, mixed, rate = self.project_in(x).split(self.widths, dim=2)
        mixed, context = self.convolution(mixed, state.context, lengths, reset)
        with without_autocast(x):
            mixed = silu(mixed + self.convolution_bias)
            v, k, q = mixed.split([self.hidden_size, self.d_state, self.d_state], dim=2)
            v = v.unflatten(2, (self.heads, self.head_size))
            dt = softplus(rate.to(mixed.dtype) + self.step_bias)  # (B, T, H)
            if padding is not None:  # neither decay nor write
                dt = dt.masked_fill(padding.unsqueeze(-1), 0)
            rule = ssm_loop if x.shape[1] == 1 else ssm_chunks
            written, log_decay = dt.unsqueeze(-1) * v, -self.log_speed.exp() * dt
            y, memory = rule(q, k, written, log_decay, state.memory.to(q.dtype), reset)
            y = torch.addcmul(y, self.skip.unsqueeze(-1), v).flatten(2)
            y = rms_norm(y * silu(gate.to(y.dtype)), (self.hidden_size,), self.norm, EPSILON)
        return self.project(y.to(x.dtype)), MemoryState(memory, context)


def ssm_loop(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, memory: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The reference: step by step."""
    outputs = [v[:, :0]]
    for t in range(q.shape[1]):
        if reset is not None:
            memory = memory.masked_fill(reset[:, t, None, None, None], 0)
        memory = log_decay[:, t].exp()[..., None, None] * memory
        memory = memory + torch.einsum("bhp,bd->bhpd", v[:, t], k[:, t])
        outputs.append(torch.einsum("bhpd,bd->bhp", memory, q[:, t]).unsqueeze(1))
    return torch.cat(outputs, dim=1), memory


def ssm_chunks(
    q: Tensor, k: Tensor, v: Tensor, log_decay: Tensor, memory: Tensor, reset: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The fast path: matrix products over CHUNK steps at a time (arXiv 2405.21060, §6).

    y[t] = A[t] S q[t] + sum_{s<=t} A[t,s] (q[t] · k[s]) v[s], with A[t,s] the product of the decays
    after s up to t, A[t] that from the chunk's start, both 0 across a reset.
    """
    T, (H, P) = q.shape[1], v.shape[2:]
    C = min(CHUNK, max(1, T))
    # Steps of the padding neither decay the memory (l = 0) nor write to it (v = 0).
    q, k, v, log_decay = (cut(x, C) for x in (q, k, v, log_decay))

    log_decay = log_decay.transpose(2, 3)  # (B, N, H, C)
    step = torch.arange(C, device=q.device)
    hidden, after = step > step.unsqueeze(1), step.unsqueeze(1) > step  # (t, s) and (u, s)
    # log A[t, s] is the sum of l[u] over s < u <= t. The difference of two cumulative sums would
    # lose its digits where much has decayed before.
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
