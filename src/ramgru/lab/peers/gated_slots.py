"""Gated slot attention: attention over a fixed number of slots that forget (arXiv 2409.07146)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, rms_norm, silu

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers import slot_attention
from ramgru.lab.peers.short_convolution import ShortConvolution
from ramgru.ragged import padding_mask

DAMPING = 8  # the paper's tau: a slot at first keeps (1/2)^(1/8) = 92 % of itself each step
SMALLEST = 1e-5  # added to mean squares before a root is taken


@dataclass(frozen=True)
class GatedSlotsState:
    """slots (B, heads, slots, 2 head_size), keys and values; context (B, 3, 3 heads head_size)."""

    slots: Tensor
    context: Tensor

    def detach(self) -> GatedSlotsState:
        """The same values, cut from the graph that made them."""
        return GatedSlotsState(self.slots.detach(), self.context.detach())


class GatedSlots(nn.Module):
    """K <- a K + (1 - a) k^T;  V <- a V + (1 - a) v^T;  y = W_o RMSNorm(SiLU(V^T softmax(K q)))

    q, k, v = SiLU(convolution(W x)), where the convolution is what all peers here look back with;
    a = sigmoid(W_a x)^(1/8), one for each slot. Every head for itself, the norm over all of them

    hidden_size: keys of all heads together, and values; None: d_model. Each head has
        hidden_size / heads of them, rounded up
    slots: of each head, its key and its value

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `GatedSlotsState`
    """

    def __init__(
        self, d_model: int, hidden_size: int | None = None, *, heads: int = 1, slots: int = 64
    ) -> None:
        super().__init__()
        for name, size in (("heads", heads), ("slots", slots)):
            if size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        self.heads, self.slots = heads, slots
        self.head_size = math.ceil((hidden_size or d_model) / heads)
        self.hidden_size = heads * self.head_size
        self.query_key_value = Projection(d_model, 3 * self.hidden_size, bias=False)
        self.convolution = ShortConvolution(3 * self.hidden_size)
        self.decay = Projection(d_model, heads * slots, bias=False)
        self.norm = nn.Parameter(torch.ones(self.hidden_size))
        self.project = Projection(self.hidden_size, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return 2 * self.slots * self.hidden_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> GatedSlotsState:
        slots = self.norm.new_zeros(batch_size, self.heads, self.slots, 2 * self.head_size)
        return GatedSlotsState(slots, self.convolution.initial_state(batch_size))

    def forward(
        self,
        x: Tensor,
        state: GatedSlotsState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, GatedSlotsState]:
        B, T, _ = x.shape
        state = self.initial_state(B) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, T).unsqueeze(-1)
            x = x.masked_fill(padding, 0)
            reset = None if reset is None else reset & ~padding.squeeze(-1)
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        with without_autocast(x):
            q, k, v = silu(mixed).view(B, T, 3, self.heads, self.head_size).unbind(2)
            log_decay = logsigmoid(self.decay(x.to(mixed.dtype))) / DAMPING
            if padding is not None:  # nothing decays, and nothing is written
                log_decay = log_decay.masked_fill(padding, 0)
            decay, weight = log_decay.exp(), -log_decay.expm1()
            if reset is not None:
                decay = decay.masked_fill(reset.unsqueeze(-1), 0)
            decay, weight = (z.unflatten(2, (self.heads, self.slots)) for z in (decay, weight))
            rule = slot_attention.loop if T == 1 else slot_attention.chunks
            y, slots = rule(q, k, v, decay, weight, state.slots.to(q.dtype))
            y = rms_norm(silu(y.flatten(2)), (self.hidden_size,), self.norm, SMALLEST)
        y = self.project(y.to(x.dtype))
        if padding is not None:
            y = y.masked_fill(padding, 0)
        return y, GatedSlotsState(slots, context)

    def step(
        self, x: Tensor, state: GatedSlotsState, donate: bool = False
    ) -> tuple[Tensor, GatedSlotsState]:
        """One step of a stream: x (B, C) -> (B, C). donate: the state may be overwritten; it is
        not."""
        y, state = self(x.unsqueeze(1), state)
        return y.squeeze(1), state
