"""What the delta-rule peers share: a matrix of memory a head, that corrects what it holds."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn.functional import rms_norm, silu

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers import gated_delta_rule
from ramgru.lab.peers.short_convolution import ShortConvolution
from ramgru.ragged import padding_mask

SMALLEST = 1e-6  # added to squared lengths before a root is taken


@dataclass(frozen=True)
class DeltaMemoryState:
    """memory (B, heads, key_size, value_size); context (B, 3, channels of the convolution)."""

    memory: Tensor
    context: Tensor

    def detach(self) -> DeltaMemoryState:
        """The same values, cut from the graph that made them."""
        return DeltaMemoryState(self.memory.detach(), self.context.detach())


class DeltaMemory(nn.Module):
    """S <- a (I - b k k^T) S + b k v^T;  y = RMSNorm(S^T q / √D), every head so.

    q, k, v = SiLU(convolution(W x)), q and k of length 1. A peer has the weights of the norm, and
    says in `rates` what a and b are, in `output` what becomes of y.

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `DeltaMemoryState`
    """

    norm: nn.Parameter  # (value_size,)

    def __init__(
        self, d_model: int, hidden_size: int | None, heads: int, value_size: int | None
    ) -> None:
        super().__init__()
        for name, size in (("heads", heads), ("value_size", value_size)):
            if size is not None and size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        self.heads = heads
        self.key_size = math.ceil((hidden_size or d_model) / heads)
        self.value_size = value_size or self.key_size
        self.hidden_size = keys = heads * self.key_size
        self.widths = [keys, keys, heads * self.value_size]
        self.query_key_value = Projection(d_model, sum(self.widths), bias=False)
        self.convolution = ShortConvolution(sum(self.widths))

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.heads * self.key_size * self.value_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> DeltaMemoryState:
        context = self.convolution.initial_state(batch_size)
        memory = context.new_zeros(batch_size, self.heads, self.key_size, self.value_size)
        return DeltaMemoryState(memory, context)

    def forward(
        self,
        x: Tensor,
        state: DeltaMemoryState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, DeltaMemoryState]:
        state = self.initial_state(x.shape[0]) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, x.shape[1])
            x = x.masked_fill(padding.unsqueeze(-1), 0)
            reset = None if reset is None else reset & ~padding
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        with without_autocast(x):
            q, k, v = self._heads(silu(mixed))
            log_decay, beta = self.rates(x.to(mixed.dtype))
            if padding is not None:  # nothing decays, and nothing is written
                log_decay, beta = (z.masked_fill(padding[:, None], 0) for z in (log_decay, beta))
            given = (q, k, v, log_decay, beta, state.memory.to(q.dtype), reset)
            rule = gated_delta_rule.loop if x.shape[1] == 1 else gated_delta_rule.chunks
            y, memory = rule(*given)
        normed = rms_norm(y, (self.value_size,), self.norm, SMALLEST).transpose(1, 2).flatten(2)
        y = self.output(normed.to(x.dtype), x)
        if padding is not None:
            y = y.masked_fill(padding.unsqueeze(-1), 0)
        return y, DeltaMemoryState(memory, context)

    def step(
        self, x: Tensor, state: DeltaMemoryState, donate: bool = False
    ) -> tuple[Tensor, DeltaMemoryState]:
        """One step of a stream: x (B, C) -> (B, C). donate: the state may be overwritten; it is
        not."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state

    def _heads(self, mixed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """mixed (B, T, channels) -> q, k of length 1, q scaled, and v, each (B, H, T, …)."""
        q, k, v = (
            z.unflatten(2, (self.heads, -1)).transpose(1, 2)
            for z in mixed.split(self.widths, dim=2)
        )
        q, k = (z * (z.square().sum(-1, keepdim=True) + SMALLEST).rsqrt() for z in (q, k))
        return q * self.key_size**-0.5, k, v

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, T, C) -> log a and b, each (B, heads, T)."""
        raise NotImplementedError

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        """y (B, T, heads value_size), what was read; x (B, T, C) -> (B, T, C)"""
        raise NotImplementedError
