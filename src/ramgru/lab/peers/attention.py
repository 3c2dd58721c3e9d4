"""Causal softmax attention (arXiv 1706.03762), full or through a sliding window, behind a short
convolution.

B sequences, T steps, L kept steps, H heads, D channels a head.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.base import Mixer, PeerState, Ragged, ShortConvolution, at_least_one
from ramgru.ragged import last_steps

POSITIONS = ("none", "rope")
MASKED = 2**22  # most entries of a mask at a time; limits the queries answered together
Cache = tuple[Tensor, Tensor, Tensor]  # keys, values and length, as in `AttentionState`


@dataclass(frozen=True)
class AttentionState(PeerState):
    """The cache of a batch of sequences.

    keys, values (B, H, L, D); length (B,) int64, steps since the sequence began;
    context (B, 3, 3 H D), the last inputs of the convolution
    """

    keys: Tensor
    values: Tensor
    length: Tensor
    context: Tensor


class CausalAttention(Mixer):
    """q, k, v = convolution(W x), rotated by position if positions="rope";  y = W_o attend(q, k, v)

    `attend` computes the attention and the cache after the last step. A fresh cache has
    `cache_size` keys and values.
    """

    cache_size = 0

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        positions: str = "none",
    ) -> None:
        super().__init__()
        at_least_one(heads=heads)
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
        return 2 * self.cache_size * self.hidden_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> AttentionState:
        context = self.convolution.initial_state(batch_size)
        empty = context.new_zeros(batch_size, self.heads, self.cache_size, self.head_size)
        length = torch.zeros(batch_size, dtype=torch.int64, device=context.device)
        return AttentionState(empty, empty, length, context)

    def mix(
        self, x: Tensor, state: AttentionState, ragged: Ragged
    ) -> tuple[Tensor, AttentionState]:
        B, T, _ = x.shape
        _, lengths, reset = ragged
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        heads = mixed.view(B, T, 3, self.heads, self.head_size).permute(2, 0, 3, 1, 4)
        q, k, v = heads.unbind(0)  # (B, H, T, D)
        if self.positions == "rope":
            place = places(state.length, T, reset)
            q, k = rotate(q, place), rotate(k, place)
        y, cache = self.attend(q, k, v, state, ragged)
        y = self.project(y.transpose(1, 2).flatten(2).to(x.dtype))
        return y, AttentionState(*cache, context)

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, state: AttentionState, ragged: Ragged
    ) -> tuple[Tensor, Cache]:
        """q, k, v (B, H, T, D) -> y (B, H, T, D), the next cache."""
        raise NotImplementedError


class Attention(CausalAttention):
    """y[t] = sum_s softmax_s(q[t] · k[s] / √D) v[s] over all steps s <= t, in each head.

    hidden_size: width of all heads together; None: d_model
    positions: "none" (only the convolution tells neighbours apart), or "rope" (arXiv 2104.09864)

    The state, an `AttentionState`, grows by a key and a value a step; entries beyond a sequence's
    length are zero.
    """

    @property
    def state_growth(self) -> int:
        """Floats that each step adds to the state of a sequence."""
        return 2 * self.hidden_size

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, state: AttentionState, ragged: Ragged
    ) -> tuple[Tensor, Cache]:
        B, _, T, _ = q.shape
        padding, _, reset = ragged
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        if keys.shape[2] == T and reset is None:  # the causal mask hides the padding, which is last
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
            segment = torch.zeros(B, T, dtype=torch.int64, device=q.device)
        else:
            segment = _segments(state, T, reset)
            y = _attend_segments(q, keys, values, segment)
        if padding is not None:
            behind = pad(padding, (keys.shape[2] - T, 0))
            segment = segment.masked_fill(behind, -1)
        return y, _last_segment(keys, values, segment, reset)


class WindowAttention(CausalAttention):
    """y[t] = sum_s softmax_s(q[t] · k[s] / √D) v[s] over the `window` steps t - window < s <= t.

    Longformer (arXiv 2004.05150), Mistral 7B (arXiv 2310.06825).

    hidden_size: width of all heads together; None: d_model
    window: steps that a query sees, its own included
    positions: "none" (only the convolution tells neighbours apart), or "rope" (arXiv 2104.09864)

    The state, an `AttentionState`, holds the last window - 1 keys and values; those before the
    sequence's start are zero.
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        window: int = 64,
        positions: str = "none",
    ) -> None:
        super().__init__(d_model, hidden_size, heads=heads, positions=positions)
        at_least_one(window=window)
        self.window = window
        self.cache_size = window - 1

    def attend(
        self, q: Tensor, k: Tensor, v: Tensor, state: AttentionState, ragged: Ragged
    ) -> tuple[Tensor, Cache]:
        T, heads = q.shape[2], q.shape[1]
        _, lengths, reset = ragged
        place = places(state.length, T, reset)
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        y = _attend_window(q, keys, values, place, self.window) if q.numel() else q
        passed = torch.cat([state.length.unsqueeze(1), place + 1], dim=1)  # (B, 1 + T)
        end = passed[:, T] if lengths is None else passed.gather(1, lengths[:, None]).squeeze(1)

        def last(new: Tensor, before: Tensor) -> Tensor:
            """The last window - 1 steps of before (B, H, L, D) and new (B, H, T, D)."""
            steps, earlier = (z.transpose(1, 2).flatten(2) for z in (new, before))
            kept = last_steps(steps, earlier, lengths, reset)
            return kept.unflatten(2, (heads, -1)).transpose(1, 2)

        return y, (last(k, state.keys), last(v, state.values), end)


def places(length: Tensor, steps: int, reset: Tensor | None) -> Tensor:
    """(B, T) the position of each step in its sequence; `length` (B,) is that of the first step.

    A reset (B, T) starts again at 0.
    """
    step = torch.arange(steps, device=length.device)
    place = length.unsqueeze(1) + step
    if reset is None:
        return place
    latest = torch.where(reset, step, -1).cummax(1).values
    return torch.where(latest < 0, place, step - latest)


def rotate(x: Tensor, place: Tensor) -> Tensor:
    """Rotary position embedding (arXiv 2104.09864): x (B, H, T, D) rotated by its place (B, T).

    With an odd D the last channel stays as it is.
    """
    half = x.shape[-1] // 2
    rate = 10_000 ** (-torch.arange(half, device=x.device, dtype=torch.float64) / max(1, half))
    angle = (place.unsqueeze(-1) * rate).unsqueeze(1)  # (B, 1, T, D / 2)
    cos, sin = angle.cos().to(x.dtype), angle.sin().to(x.dtype)
    a, b, rest = x.split([half, half, x.shape[-1] - 2 * half], dim=-1)
    return torch.cat([a * cos - b * sin, a * sin + b * cos, rest], dim=-1)


def _segments(state: AttentionState, steps: int, reset: Tensor | None) -> Tensor:
    """(B, L + T) the number of resets up to each cached and each new step, -1 at empty entries."""
    kept = torch.arange(state.keys.shape[2], device=state.length.device)
    old = torch.where(kept < state.length.unsqueeze(1), 0, -1)
    if reset is None:
        return pad(old, (0, steps))
    return torch.cat([old, reset.long().cumsum(1)], dim=1)


def _attend_segments(q: Tensor, keys: Tensor, values: Tensor, segment: Tensor) -> Tensor:
    """q (B, H, T, D) of the last T steps, keys and values (B, H, L + T, D) -> (B, H, T, D).

    A step attends to the steps of its own segment (B, L + T) up to itself. MASKED limits the
    queries at a time, so that no T × T tensor exists.
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


def _last_segment(keys: Tensor, values: Tensor, segment: Tensor, reset: Tensor | None) -> Cache:
    """The cache of each sequence's last segment, its entries moved to the front."""
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


def _attend_window(q: Tensor, keys: Tensor, values: Tensor, place: Tensor, window: int) -> Tensor:
    """q (B, H, T, D), keys and values (B, H, window - 1 + T, D), place (B, T) -> (B, H, T, D).

    A block of `window` queries sees at most two windows of keys, so the cost grows with T · window.
    """
    B, H, T, D = q.shape
    Q = min(window, T)
    N, missing = -(-T // Q), -T % Q
    K = window - 1 + Q

    def spans(z: Tensor) -> Tensor:
        """(B, H, window - 1 + T, D) -> the steps that each block may see, (B N, H, K, D)"""
        return pad(z, (0, 0, 0, missing)).unfold(2, K, Q).permute(0, 2, 1, 4, 3).flatten(0, 1)

    queries = pad(q, (0, 0, 0, missing)).view(B, H, N, Q, D).transpose(1, 2).flatten(0, 1)
    row, column = torch.arange(Q, device=q.device), torch.arange(K, device=q.device)
    back = row.unsqueeze(1) + window - 1 - column  # (Q, K) steps from a key to its query
    since = pad(place, (0, missing)).view(B * N, Q, 1)  # steps before this one in its sequence
    seen = (back >= 0) & (back < window) & (back <= since)
    y = scaled_dot_product_attention(queries, spans(keys), spans(values), seen.unsqueeze(1))
    return y.unflatten(0, (B, N)).transpose(1, 2).flatten(2, 3)[:, :, :T]
