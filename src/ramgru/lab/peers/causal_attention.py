"""What the attention peers share: heads behind a short convolution, and where they stand."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.rope import places, rotate
from ramgru.lab.peers.short_convolution import ShortConvolution
from ramgru.ragged import padding_mask

POSITIONS = ("none", "rope")
Kept = tuple[Tensor, Tensor, Tensor]  # keys, values and length, as of `AttentionState`


@dataclass(frozen=True)
class AttentionState:
    """What a sequence carries of the steps it has seen.

    keys, values (B, heads, L, head_size), those that are kept;
    length (B,) int64, steps since the sequence began;
    context (B, 3, 3 heads head_size), the steps that the convolution still reaches back to
    """

    keys: Tensor
    values: Tensor
    length: Tensor
    context: Tensor

    def detach(self) -> AttentionState:
        """The same values, cut from the graph that made them."""
        return AttentionState(
            self.keys.detach(), self.values.detach(), self.length, self.context.detach()
        )


class CausalAttention(nn.Module):
    """q, k, v = convolution(W x), turned by their places where positions="rope";  y = W_o attend().

    A peer says in `attend` what a query sees and what is kept for later steps, of which `kept`
    before the first.

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `AttentionState`
    """

    kept = 0

    def __init__(self, d_model: int, hidden_size: int | None, heads: int, positions: str) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads: expected at least 1, got {heads}")
        if positions not in POSITIONS:
            raise ValueError(f"positions: expected one of {POSITIONS}, got {positions!r}")
        self.heads, self.positions = heads, positions
        self.head_size = math.ceil((hidden_size or d_model) / heads)
        self.hidden_size = heads * self.head_size
        self.query_key_value = Projection(d_model, 3 * self.hidden_size, bias=False)
        self.convolution = ShortConvolution(3 * self.hidden_size)
        self.project = Projection(self.hidden_size, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries before its first step."""
        return 2 * self.kept * self.hidden_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> AttentionState:
        context = self.convolution.initial_state(batch_size)
        none = context.new_zeros(batch_size, self.heads, self.kept, self.head_size)
        length = torch.zeros(batch_size, dtype=torch.int64, device=context.device)
        return AttentionState(none, none, length, context)

    def forward(
        self,
        x: Tensor,
        state: AttentionState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, AttentionState]:
        B, T, _ = x.shape
        state = self.initial_state(B) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, T)
            x = x.masked_fill(padding.unsqueeze(-1), 0)
            reset = None if reset is None else reset & ~padding
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        heads = mixed.view(B, T, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)  # (B, heads, T, head_size)
        if self.positions == "rope":
            place = places(state.length, T, reset)
            q, k = rotate(q, place), rotate(k, place)
        y, kept = self.attend(q, k, v, state, lengths, reset)
        y = self.project(y.transpose(1, 2).flatten(2).to(x.dtype))
        if padding is not None:
            y = y.masked_fill(padding.unsqueeze(-1), 0)
        return y, AttentionState(*kept, context)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: AttentionState,
        lengths: Tensor | None,
        reset: Tensor | None,
    ) -> tuple[Tensor, Kept]:
        """q, k, v (B, heads, T, D), reset nowhere in the padding -> y (B, heads, T, D), what is
        kept after the last step."""
        raise NotImplementedError
