"""Sliding-window attention (Longformer, arXiv 2004.05150; Mistral 7B, arXiv 2310.06825), behind a
short convolution."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from ramgru.lab.peers.causal_attention import AttentionState, CausalAttention, Kept
from ramgru.lab.peers.rope import places
from ramgru.ragged import last_steps


class WindowAttention(CausalAttention):
    """y[t] = sum_s softmax_s(q[t] · k[s] / √D) v[s] over the `window` steps t - window < s <= t.

    hidden_size: width of all heads together; None: d_model. Each head has hidden_size / heads of
        it, rounded up
    window: steps that a query sees, its own with them; the window - 1 before are carried
    positions: "none" (the convolution alone tells neighbours apart), or "rope" (arXiv 2104.09864)

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `AttentionState` of fixed size:
    zeros in place of keys and values before the sequence began.
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
        super().__init__(d_model, hidden_size, heads, positions)
        if window < 1:
            raise ValueError(f"window: expected at least 1, got {window}")
        self.window = window
        self.kept = window - 1

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        state: AttentionState,
        lengths: Tensor | None,
        reset: Tensor | None,
    ) -> tuple[Tensor, Kept]:
        T = q.shape[2]
        place = places(state.length, T, reset)
        keys, values = torch.cat([state.keys, k], 2), torch.cat([state.values, v], 2)
        y = _attend(q, keys, values, place, self.window) if q.numel() else q
        seen = torch.cat([state.length.unsqueeze(1), place + 1], dim=1)  # before and after steps
        length = seen[:, T] if lengths is None else seen.gather(1, lengths.unsqueeze(1)).squeeze(1)
        keys, values = (
            _last(z, before, lengths, reset) for z, before in ((k, state.keys), (v, state.values))
        )
        return y, (keys, values, length)


def _attend(q: Tensor, keys: Tensor, values: Tensor, place: Tensor, window: int) -> Tensor:
    """q (B, heads, T, D), keys and values (B, heads, window - 1 + T, D), place (B, T) ->
    (B, heads, T, D).

    In blocks of as many queries as a window has: together they see two windows of keys at most, so
    that the cost grows with T · window.
    """
    B, H, T, D = q.shape
    Q = min(window, T)
    N, missing = -(-T // Q), -T % Q
    K = window - 1 + Q

    def spans(z: Tensor) -> Tensor:
        """(B, heads, window - 1 + T, D) -> (B N, heads, K, D): what each block may see."""
        return pad(z, (0, 0, 0, missing)).unfold(2, K, Q).permute(0, 2, 1, 4, 3).flatten(0, 1)

    queries = pad(q, (0, 0, 0, missing)).view(B, H, N, Q, D).transpose(1, 2).flatten(0, 1)
    row, column = torch.arange(Q, device=q.device), torch.arange(K, device=q.device)
    back = row.unsqueeze(1) + window - 1 - column  # (Q, K) how many steps a key lies behind
    since = pad(place, (0, missing)).view(B * N, Q, 1)  # none of another sequence is seen
    seen = (back >= 0) & (back < window) & (back <= since)
    y = scaled_dot_product_attention(queries, spans(keys), spans(values), seen.unsqueeze(1))
    return y.unflatten(0, (B, N)).transpose(1, 2).flatten(2, 3)[:, :, :T]


def _last(new: Tensor, before: Tensor, lengths: Tensor | None, reset: Tensor | None) -> Tensor:
    """The last steps of `before` (B, heads, L, D) and `new` (B, heads, T, D), as many as before."""
    heads = new.shape[1]
    steps, earlier = (z.transpose(1, 2).flatten(2) for z in (new, before))
    return last_steps(steps, earlier, lengths, reset).unflatten(2, (heads, -1)).transpose(1, 2)
