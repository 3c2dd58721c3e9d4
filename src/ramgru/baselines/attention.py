"""Causal softmax attention (arXiv 1706.03762) over keys and values that are kept, behind a short
convolution."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ramgru.baselines.short_convolution import ShortConvolution
from ramgru.kernels.projection import Projection
from ramgru.ragged import padding_mask

POSITIONS = ("none", "rope")
MASKED = 2**22  # entries of a mask at a time: so many queries are answered together


@dataclass(frozen=True)
class AttentionState:
    """What a sequence has seen since it began; it grows with every step.

    keys, values (B, heads, L, head_size), zeros behind a sequence's own length (B,) int64;
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


class Attention(nn.Module):
    """y[t] = sum_s softmax_s(q[t] · k[s] / √D) v[s] over all steps s <= t, every head for itself.

    hidden_size: width of all heads together; None: d_model. Each head has hidden_size / heads of
        it, rounded up
    positions: "none" (the convolution alone tells neighbours apart), or "rope" (arXiv 2104.09864)

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `AttentionState`
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        positions: str = "none",
    ) -> None:
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
        """Floats that one sequence carries before its first step; see `state_growth`."""
        return self.convolution.state_size

    @property
    def state_growth(self) -> int:
        """Floats that each step adds to what a sequence carries."""
        return 2 * self.hidden_size

    def initial_state(self, batch_size: int) -> AttentionState:
        context = self.convolution.initial_state(batch_size)
        none = context.new_zeros(batch_size, self.heads, 0, self.head_size)
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
        if lengths is not None:
            padding = padding_mask(lengths, T)
            x = x.masked_fill(padding.unsqueeze(-1), 0)
            reset = None if reset is None else reset & ~padding
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        heads = mixed.view(B, T, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)  # (B, heads, T, head_size)
        if self.positions == "rope":
            place = _places(state.length, T, reset)
            q, k = _rotate(q, place), _rotate(k, place)
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        if keys.shape[2] == T and reset is None:  # padding lies behind all that may be seen
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
            segment = torch.zeros(B, T, dtype=torch.int64, device=x.device)
        else:
            segment = _segments(state, T, reset)
            y = _attend(q, keys, values, segment)
        y = self.project(y.transpose(1, 2).flatten(2).to(x.dtype))
        if lengths is not None:
            behind = nn.functional.pad(padding, (keys.shape[2] - T, 0))
            segment = segment.masked_fill(behind, -1)
            y = y.masked_fill(padding.unsqueeze(-1), 0)
        return y, AttentionState(*_kept(keys, values, segment, reset), context)


def _segments(state: AttentionState, steps: int, reset: Tensor | None) -> Tensor:
    """(B, L + T) the resets before each kept and each new step, -1 where nothing is kept."""
    kept = torch.arange(state.keys.shape[2], device=state.length.device)
    old = torch.where(kept < state.length.unsqueeze(1), 0, -1)
    if reset is None:
        return nn.functional.pad(old, (0, steps))
    return torch.cat([old, reset.long().cumsum(1)], dim=1)


def _attend(q: Tensor, keys: Tensor, values: Tensor, segment: Tensor) -> Tensor:
    """q (B, heads, T, D) at the last T of the steps (B, heads, L + T, D) -> (B, heads, T, D).

    A step sees those of its own segment (B, L + T) up to itself. As many queries at a time as
    MASKED allows, so that there is no T × T of anything.
    """
    B, T, every = q.shape[0], q.shape[2], keys.shape[2]
    place = torch.arange(every, device=q.device)
    rows = max(1, MASKED // max(1, B * every))
    outputs = [q[:, :, :0]]
    for start in range(0, T, rows):
        queries = q[:, :, start : start + rows]
        first = every - T + start
        last = first + queries.shape[2]
        seen = place[:last] <= place[first:last, None]
        seen = seen & (segment[:, None, :last] == segment[:, first:last, None])
        outputs.append(
            scaled_dot_product_attention(
                queries, keys[:, :, :last], values[:, :, :last], seen.unsqueeze(1)
            )
        )
    return torch.cat(outputs, dim=2)


def _kept(
    keys: Tensor, values: Tensor, segment: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The keys and values of each sequence's last segment, moved to the front, and their number."""
    last = 0 if reset is None else reset.sum(1, keepdim=True)
    keep = segment == last
    length = keep.sum(1)
    if bool(keep.all()):
        return keys, values, length
    longest = int(length.max()) if len(length) else 0
    order = (~keep).long().argsort(dim=1, stable=True)[:, :longest, None]
    empty = torch.arange(longest, device=keep.device) >= length.unsqueeze(1)

    def move(x: Tensor) -> Tensor:
        there = order.unsqueeze(1).expand(-1, x.shape[1], -1, x.shape[3])
        return x.gather(2, there).masked_fill(empty[:, None, :, None], 0)

    return move(keys), move(values), length


def _places(length: Tensor, steps: int, reset: Tensor | None) -> Tensor:
    """(B, T) how many steps of its sequence lie before each step."""
    step = torch.arange(steps, device=length.device)
    place = length.unsqueeze(1) + step
    if reset is None:
        return place
    latest = torch.where(reset, step, -1).cummax(1).values
    return torch.where(latest < 0, place, step - latest)


def _rotate(x: Tensor, place: Tensor) -> Tensor:
    """x (B, heads, T, D) turned by its place (B, T), pair by pair of channels (RoPE).

    Of an odd D the last channel stays as it is.
    """
    half = x.shape[-1] // 2
    rate = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.float64) / max(1, half))
    angle = (place.unsqueeze(-1) * rate).unsqueeze(1)  # (B, 1, T, D / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)
