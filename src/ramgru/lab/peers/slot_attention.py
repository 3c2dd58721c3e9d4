"""Attention over slots that decay each at its own pace (arXiv 2409.07146): a loop, and in chunks.

    K[t] = a[t] K[t-1] + w[t] k[t]^T,   V[t] = a[t] V[t-1] + w[t] v[t]^T,   one row a slot
    y[t] = V[t]^T softmax(K[t] q[t])

B sequences, T steps, H heads, M slots, D key channels, E value channels. Both functions take q, k
(B, T, H, D), v (B, T, H, E), the decay a and the weight w of what is new (B, T, H, M), numbers of
[0, 1], and the slots' keys and values before the first step, memory (B, H, M, D + E); they give
y (B, T, H, E) and the memory after the last step. A decay of 0 starts from empty slots.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.lab.peers.decayed_memory import carry, cut

CHUNK = 32  # steps; a power of two


def loop(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, weight: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """Step by step: the reference, made to be read."""
    keys, values = memory.split([k.shape[-1], v.shape[-1]], dim=-1)
    outputs = [v[:, :0]]
    for t in range(q.shape[1]):
        a, w = decay[:, t].unsqueeze(-1), weight[:, t].unsqueeze(-1)
        keys = a * keys + w * k[:, t].unsqueeze(-2)
        values = a * values + w * v[:, t].unsqueeze(-2)
        shares = torch.einsum("bhmd,bhd->bhm", keys, q[:, t]).softmax(-1)
        outputs.append(torch.einsum("bhm,bhme->bhe", shares, values).unsqueeze(1))
    return torch.cat(outputs, dim=1), torch.cat([keys, values], dim=-1)


def chunks(
    q: Tensor, k: Tensor, v: Tensor, decay: Tensor, weight: Tensor, memory: Tensor
) -> tuple[Tensor, Tensor]:
    """The same with products of matrices, CHUNK steps at a time.

    What a step finds in its slots is what was there before the chunk, what it writes itself, and
    what the chunk's earlier steps wrote. Of those each is met once, when blocks of 1, 2, 4, … steps
    are joined in pairs: then all of the right block see all of the left one, and the decay between
    two steps is that from the left one to its block's end, times that from the right block's start.
    These are products of numbers of [0, 1], which nothing has to be divided by.
    """
    T, D, E = q.shape[1], k.shape[-1], v.shape[-1]
    C = min(CHUNK, 1 << max(0, T - 1).bit_length())
    # (B, N, H, C, ...); steps that are filled in neither decay the memory nor write to it.
    q, k, v, weight = (cut(x, C).transpose(2, 3) for x in (q, k, v, weight))
    since, left = cut(decay, C, fill=1).transpose(2, 3), weight
    decays = {}  # by the size of a block
    for size in [1 << n for n in range(C.bit_length() - 1)]:
        (since_0, since_1), (left_0, left_1) = _pairs(since, size), _pairs(left, size)
        decays[size] = since_1, left_0
        since = torch.cat([since_0, since_1 * since_0[..., -1:, :]], dim=-2).flatten(-3, -2)
        left = torch.cat([left_0 * since_1[..., -1:, :], left_1], dim=-2).flatten(-3, -2)

    # Now `since` is the decay since the chunk's start, `left` what each write has left at its end.
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
