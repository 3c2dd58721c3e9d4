"""Mamba-2: a state that decays and is written to as the input says (arXiv 2405.21060)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu, softplus

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers import state_space
from ramgru.lab.peers.short_convolution import ShortConvolution
from ramgru.ragged import padding_mask

SMALLEST = 1e-5  # added to mean squares before a root is taken


@dataclass(frozen=True)
class Mamba2State:
    """memory (B, heads, head_size, d_state); context (B, 3, hidden_size + 2 d_state)."""

    memory: Tensor
    context: Tensor

    def detach(self) -> Mamba2State:
        """The same values, cut from the graph that made them."""
        return Mamba2State(self.memory.detach(), self.context.detach())


class Mamba2(nn.Module):
    """S <- exp(-exp(A) d) S + d v k^T;  y = W_o RMSNorm((S q + D v) * SiLU(z)), every head so.

    (z, u, r) = W x;  v, k, q = SiLU(convolution(u) + b), called x, B, C in the paper; the heads
    share k and q;  d = softplus(r + c), called dt;  the norm is over all heads together

    hidden_size: values of all heads together; None: expand d_model. Each head has
        hidden_size / heads of them, rounded up
    d_state: numbers that each value is spread over, those of k and q

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `Mamba2State`
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
        for name, size in (("heads", heads), ("d_state", d_state), ("expand", expand)):
            if size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        self.heads, self.d_state = heads, d_state
        self.head_size = math.ceil((hidden_size or expand * d_model) / heads)
        self.hidden_size = heads * self.head_size
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

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.hidden_size * self.d_state + self.convolution.state_size

    def initial_state(self, batch_size: int) -> Mamba2State:
        memory = self.norm.new_zeros(batch_size, self.heads, self.head_size, self.d_state)
        return Mamba2State(memory, self.convolution.initial_state(batch_size))

    def forward(
        self,
        x: Tensor,
        state: Mamba2State | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Mamba2State]:
        state = self.initial_state(x.shape[0]) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, x.shape[1]).unsqueeze(-1)
            x = x.masked_fill(padding, 0)
            reset = None if reset is None else reset & ~padding.squeeze(-1)
        gate, mixed, rate = self.project_in(x).split(self.widths, dim=2)
        mixed, context = self.convolution(mixed, state.context, lengths, reset)
        with without_autocast(x):
            mixed = silu(mixed + self.convolution_bias)
            v, k, q = mixed.split([self.hidden_size, self.d_state, self.d_state], dim=2)
            v = v.unflatten(2, (self.heads, self.head_size))
            dt = softplus(rate.to(mixed.dtype) + self.step_bias)  # (B, T, heads)
            if padding is not None:  # nothing decays, and nothing is written
                dt = dt.masked_fill(padding, 0)
            rule = state_space.loop if x.shape[1] == 1 else state_space.chunks
            written, log_decay = dt.unsqueeze(-1) * v, -self.log_speed.exp() * dt
            y, memory = rule(q, k, written, log_decay, state.memory.to(q.dtype), reset)
            y = torch.addcmul(y, self.skip.unsqueeze(-1), v).flatten(2)
            y = rms_norm(y * silu(gate.to(y.dtype)), (self.hidden_size,), self.norm, SMALLEST)
        return self.project(y.to(x.dtype)), Mamba2State(memory, context)

    def step(
        self, x: Tensor, state: Mamba2State, donate: bool = False
    ) -> tuple[Tensor, Mamba2State]:
        """One step of a stream: x (B, C) -> (B, C). donate: the state may be overwritten; it is
        not."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state
