"""Gated DeltaNet: a matrix of memory a head, that decays and corrects itself (arXiv 2412.06464)."""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu, softplus

from ramgru.address import autocasts
from ramgru.baselines import gated_delta_rule
from ramgru.baselines.short_convolution import ShortConvolution
from ramgru.kernels.projection import Projection
from ramgru.ragged import padding_mask

SMALLEST = 1e-6  # added to squared lengths before a root is taken


@dataclass(frozen=True)
class GatedDeltaNetState:
    """memory (B, heads, key_size, value_size); context (B, 3, channels of the convolution)."""

    memory: Tensor
    context: Tensor

    def detach(self) -> GatedDeltaNetState:
        """The same values, cut from the graph that made them."""
        return GatedDeltaNetState(self.memory.detach(), self.context.detach())


class GatedDeltaNet(nn.Module):
    """S <- a (I - b k k^T) S + b k v^T;  y = W_o (RMSNorm(S^T q) * SiLU(W_g x)), every head so.

    q, k, v = SiLU(convolution(W x)), q and k of length 1; b = sigmoid(W_b x);
    a = exp(-exp(A) softplus(W_a x + d))

    hidden_size: keys of all heads together; None: d_model. Each head has hidden_size / heads of
        them, rounded up
    value_size: width of a head's values; None: that of its keys

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `GatedDeltaNetState`
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        value_size: int | None = None,
    ) -> None:
        super().__init__()
        for name, size in (("heads", heads), ("value_size", value_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        self.heads = heads
        self.key_size = math.ceil((hidden_size or d_model) / heads)
        self.value_size = value_size or self.key_size
        self.hidden_size = keys = heads * self.key_size
        values = heads * self.value_size
        self.widths = [keys, keys, values]
        self.query_key_value = Projection(d_model, sum(self.widths), bias=False)
        self.convolution = ShortConvolution(sum(self.widths))
        self.decay_and_rate = Projection(d_model, 2 * heads, bias=False)
        # The authors draw exp(A) from (0, 16) for their many heads. Of one or two heads most would
        # forget in a few steps, and learn recall later or not at all: here all of them begin at 1.
        # softplus(d) is theirs, spread evenly on a log scale.
        self.log_speed = nn.Parameter(torch.zeros(heads))
        start = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.decay_bias = nn.Parameter(start.expm1().log())  # the inverse of softplus
        self.gate = Projection(d_model, values, bias=False)
        self.norm = nn.Parameter(torch.ones(self.value_size))
        self.project = Projection(values, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.heads * self.key_size * self.value_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> GatedDeltaNetState:
        memory = self.norm.new_zeros(batch_size, self.heads, self.key_size, self.value_size)
        return GatedDeltaNetState(memory, self.convolution.initial_state(batch_size))

    def forward(
        self,
        x: Tensor,
        state: GatedDeltaNetState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, GatedDeltaNetState]:
        state = self.initial_state(x.shape[0]) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, x.shape[1])
            x = x.masked_fill(padding.unsqueeze(-1), 0)
            reset = None if reset is None else reset & ~padding
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        device = x.device.type
        with torch.autocast(device, enabled=False) if autocasts(device) else nullcontext():
            q, k, v, log_decay, beta = self._inputs(mixed, x)
            if padding is not None:  # nothing decays, and nothing is written
                log_decay, beta = (z.masked_fill(padding[:, None], 0) for z in (log_decay, beta))
            given = (q, k, v, log_decay, beta, state.memory.to(q.dtype), reset)
            rule = gated_delta_rule.loop if x.shape[1] == 1 else gated_delta_rule.chunks
            y, memory = rule(*given)
        return self._output(y, x), GatedDeltaNetState(memory, context)

    def step(
        self, x: Tensor, state: GatedDeltaNetState, donate: bool = False
    ) -> tuple[Tensor, GatedDeltaNetState]:
        """One step of a stream: x (B, C) -> (B, C). donate: the state may be overwritten; it is
        not."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def _inputs(self, mixed: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """mixed (B, T, channels) -> q, k, v (B, H, T, …), log_decay and beta (B, H, T)."""
        q, k, v = (
            z.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for z in silu(mixed).split(self.widths, dim=2)
        )
        q, k = (z * (z.square().sum(-1, keepdim=True) + SMALLEST).rsqrt() for z in (q, k))
        decay, rate = self.decay_and_rate(x.to(mixed.dtype)).transpose(1, 2).chunk(2, dim=1)
        speed, bias = self.log_speed.exp().unsqueeze(-1), self.decay_bias.unsqueeze(-1)
        return q * self.key_size**-0.5, k, v, -speed * softplus(decay + bias), rate.sigmoid()

    def _output(self, y: Tensor, x: Tensor) -> Tensor:
        """y (B, H, T, E), x (B, T, C) -> (B, T, C)"""
        normed = rms_norm(y, (self.value_size,), self.norm, SMALLEST).transpose(1, 2).flatten(2)
        return self.project(normed.to(x.dtype) * silu(self.gate(x)))
