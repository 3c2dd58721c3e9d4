"""Causal softmax attention (arXiv 1706.03762) over keys and values that are kept, behind a short
convolution."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from ramgru.lab.peers.causal_attention import AttentionState, CausalAttention, Kept
from ramgru.ragged import padding_mask

MASKED = 2**22  # entries of a mask at a time: so many queries are answered together


class Attention(CausalAttention):
    """y[t] = sum_s softmax_s(q[t] · k[s] / √D) v[s] over all steps s <= t, every head for itself.

    hidden_size: width of all heads together; None: d_model. Each head has hidden_size / heads of
        it, rounded up
    positions: "none" (the convolution alone tells neighbours apart), or "rope" (arXiv 2104.09864)

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `AttentionState`, which grows with
    every step: all keys and values of a sequence, zeros behind its length.
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        positions: str = "none",
    ) -> None:
        super().__init__(d_model, hidden_size, heads, positions)

    @property
    def state_growth(self) -> int:
        """Floats that each step adds to what a sequence carries."""
        return 2 * self.hidden_size

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: AttentionState,
        lengths: Tensor | None,
        reset: Tensor | None,
    ) -> tuple[Tensor, Kept]:
        B, _, T, _ = q.shape
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        if keys.shape[2] == T and reset is None:  # padding lies behind all that may be seen
            y = scaled_dot_product_attention(q, k, v, is_causal=True)
            segment = torch.zeros(B, T, dtype=torch.int64, device=q.device)
        else:
            segment = _segments(state, T, reset)
            y = _attend(q, keys, values, segment)
        if lengths is not None:
            behind = nn.functional.pad(padding_mask(lengths, T), (keys.shape[2] - T, 0))
            segment = segment.masked_fill(behind, -1)
        return y, _kept(keys, values, segment, reset)


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


def _kept(keys: Tensor, values: Tensor, segment: Tensor, reset: Tensor | None) -> Kept:
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
