"""Gated slot attention: attention over a fixed number of slots that forget (arXiv 2409.07146).

    K[t] = a[t] K[t-1] + w[t] k[t]^T,   V[t] = a[t] V[t-1] + w[t] v[t]^T,   a row of each a slot
    y[t] = V[t]^T softmax(K[t] q[t])

B sequences, T steps, H heads, M slots, D key channels, E value channels.

The rule is here twice: `slot_loop` is the reference, `slot_chunks` the fast path. Both take q, k
(B, T, H, D), v (B, T, H, E), the decay a and the write weight w (B, T, H, M), in [0, 1], and memory
(B, H, M, D + E), the slots' keys and values before the first step. They return y (B, T, H, E) and
the memory after the last step. A decay of 0 starts from empty slots.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, rms_norm, silu

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

CHUNK = 32  # steps; a power of two
DAMPING = 8  # the paper's tau: a slot starts by keeping (1/2)^(1/8) = 92 % of itself each step
EPSILON = 1e-5  # added to mean squares before the root


class GatedSlots(Mixer):
    """K <- a K + (1 - a) k^T;  V <- a V + (1 - a) v^T;  y = W_o RMSNorm(SiLU(V^T softmax(K q)))

    q, k, v = SiLU(convolution(W x)); a = sigmoid(W_a x)^(1/8), one for each slot. Each head has its
    own slots; the norm is over all heads together.

    hidden_size: keys of all heads together, and as many values; None: d_model
    slots: of each head

    The memory of the state is (B, H, M, 2 D).
    """

    def __init__(
        self, d_model: int, hidden_size: int | None = None, *, heads: int = 1, slots: int = 64
    ) -> None:
        super().__init__()
        at_least_one(heads=heads, slots=slots)
        self.heads, self.slots = heads, slots
        self.head_size = math.ceil((hidden_size or d_model) / heads)
        self.hidden_size = heads * self.head_size
        self.memory_shape = (heads, slots, 2 * self.head_size)
        self.query_key_value = Projection(d_model, 3 * self.hidden_size, bias=False)
        self.convolution = ShortConvolution(3 * self.hidden_size)
        self.decay = Projection(d_model, heads * slots, bias=False)
        self.norm = nn.Parameter(torch.ones(self.hidden_size))
        self.project = Projection(self.hidden_size, d_model, bias=False)

    def mix(self, x: Tensor, state: MemoryState, ragged: Ragged) -> tuple[Tensor, MemoryState]:
        padding, lengths, reset = ragged
        mixed, context = self.convolution(self.query_key_value(x), state.context, lengths, reset)
        with without_autocast(x):
            heads = silu(mixed).unflatten(2, (3, self.heads, self.head_size))
            q, k, v = heads.unbind(2)  # (B, T, H, D)
            log_decay = logsigmoid(self.decay(x.to(mixed.dtype))) / DAMPING
            if padding is not None:  # neither decay nor write
                log_decay = log_decay.masked_fill(padding.unsqueeze(-1), 0)
            decay, weight = log_decay.exp(), -log_decay.expm1()
            if reset is not None:
                decay = decay.masked_fill(reset.unsqueeze(-1), 0)
            decay, weight = (z.unflatten(2, (self.heads, self.slots)) for z in (decay, weight))
            rule = slot_loop if x.shape[1] == 1 else slot_chunks
            y, slots = rule(q, k, v, decay, weight, state.memory.to(q.dtype))
            y = rms_norm(silu(y.flatten(2)), (self.hidden_size,), self.norm, EPSILON)
        return self.project(y.to(x.dtype)), MemoryState(slots, context)


def slot_loop(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, weight: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """The reference: step by step."""
    keys, values = memory.split([k.shape[-1], v.shape[-1]], dim=-1)
    outputs = [v[:, :0]]
    for t in range(q.shape[1]):
        a, w = decay[:, t].unsqueeze(-1), weight[:, t].unsqueeze(-1)
        keys = a * keys + w * k[:, t].unsqueeze(-2)
        values = a * values + w * v[:, t].unsqueeze(-2)
        shares = torch.einsum("bhmd,bhd->bhm", keys, q[:, t]).softmax(-1)
        outputs.append(torch.einsum("bhm,bhme->bhe", shares, values).unsqueeze(1))
    return torch.cat(outputs, dim=1), torch.cat([keys, values], dim=-1)


def slot_chunks(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, weight: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """The fast path: matrix products over CHUNK steps at a time.

    A step reads the slots from before the chunk, its own write, and the writes of the chunk's
    earlier steps. To find the latter, blocks of 1, 2, 4, … steps are joined in pairs: the steps of
    the right block then see all writes of the left one. The decay between two steps is the decay
    from the left step to its block's end times the decay from the right block's start. Both factors
    lie in [0, 1], so there is no division.
    """
    T, D, E = q.shape[1], k.shape[-1], v.shape[-1]
    C = min(CHUNK, 1 << max(0, T - 1).bit_length())
    # (B, N, H, C, ...); steps of the padding neither decay the memory nor write to it.
    q, k, v, weight = (cut(x, C).transpose(2, 3) for x in (q, k, v, weight))
    since, left = cut(decay, C, fill=1).transpose(2, 3), weight
    decays = {}  # by the size of a block
    for size in [1 << n for n in range(C.bit_length() - 1)]:
        (since_0, since_1), (left_0, left_1) = _pairs(since, size), _pairs(left, size)
        decays[size] = since_1, left_0
        since = torch.cat([since_0, since_1 * since_0[..., -1:, :]], dim=-2).flatten(-3, -2)
        left = torch.cat([left_0 * since_1[..., -1:, :], left_1], dim=-2).flatten(-3, -2)

    # Now `since` is the decay since the chunk's start, `left` the part of a write left at its end.
    added = left.mT @ torch.cat([k, v], dim=-1)
    before, memory = carry(added, since[..., -1, :].unsqueeze(-1), memory)
    keys, values = before.split([D, E], dim=-1)

    found = weight * (q * k).sum(-1, keepdim=True) + since * (q @ keys.mT)
    for size, (since_1, left_0) in decays.items():
        scores = _pairs(q, size)[1] @ _pairs(k, size)[0].mT
        found = _add_to_right(found, since_1 * (scores @ left_0))
    shares = found.softmax(-1)
    y = (weight * shares).sum(-1, keepdim=True) * v + (since * shares) @ values
    for size, (since_1, left_0) in decays.items():
        scores = (since_1 * _pairs(shares, size)[1]) @ left_0.mT
        y = _add_to_right(y, scores @ _pairs(v, size)[0])
    return y.transpose(2, 3).flatten(1, 2)[:, :T], memory


def _pairs(x: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """x (..., C, F) -> the left and the right block of each pair, (..., pairs, size, F)."""
    left, right = x.unflatten(-2, (-1, 2, size)).unbind(-3)
    return left, right


def _add_to_right(x: Tensor, seen: Tensor) -> Tensor:
    """x (..., C, F) + seen (..., pairs, size, F) in the right block of each pair."""
    left, right = _pairs(x, seen.shape[-2])
    return torch.cat([left, right + seen], dim=-2).flatten(-3, -2)
