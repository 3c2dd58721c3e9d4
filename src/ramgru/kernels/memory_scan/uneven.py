"""Heads with uneven numbers of cells: their accesses stand side by side, without padding.

`counts` are the writes of each of the H heads, then the reads of each, 2 H numbers; empty if all
heads have K writes and J reads, in dimensions of their own. The accesses are (B, T, S), S the sum
over the writes, or over the reads: those of the first head, then those of the second, and so on.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby

import torch
from torch import Tensor
from torch.nn.functional import pad

from ramgru.kernels.memory_scan.inputs import DIFFERENTIABLE, Inputs


def pad_heads(value: Tensor, counts: Sequence[int], fill: float = 0) -> Tensor:
    """(B, T, S) -> (B, T, H, K), K the largest count, filled up at the end of each head"""
    free, most, first, places = sum(counts), max(counts), 0, []
    for n, same in groupby(counts):
        heads = len(list(same))
        place = torch.arange(first, first + heads * n, device=value.device).view(heads, n)
        places.append(pad(place, (0, most - n), value=free))
        first += heads * n
    # The places are constants, so that a traced graph holds one gather.
    filled = pad(value, (0, 1), value=fill)
    return filled.index_select(-1, torch.cat(places).flatten()).unflatten(-1, (len(counts), most))


def strip_heads(value: Tensor, counts: Sequence[int]) -> Tensor:
    """(B, T, H, K) -> (B, T, S)"""
    return torch.cat([value[..., h, :n] for h, n in enumerate(counts)], dim=-1)


def of_each(x: Inputs, counts: Sequence[int]) -> tuple[Sequence[int], Sequence[int]]:
    """-> the writes and the reads of each head"""
    if counts:
        heads = len(counts) // 2
        return counts[:heads], counts[heads:]
    H = x.gate.shape[2]
    return [x.write_index.shape[3]] * H, [x.read_index.shape[3]] * H


def even(x: Inputs, counts: Sequence[int]) -> Inputs:
    """The same accesses as K writes and J reads of every head, no access in free places."""
    if not counts:
        return x
    writes, reads = of_each(x, counts)
    return x._replace(
        write_index=pad_heads(x.write_index, writes, -1),
        write_weight=pad_heads(x.write_weight, writes),
        read_index=pad_heads(x.read_index, reads, -1),
        read_weight=pad_heads(x.read_weight, reads),
    )


def uneven_gradients(
    grads: Sequence[Tensor | None], x: Inputs, counts: Sequence[int]
) -> list[Tensor | None]:
    """Gradients of `even` inputs, in the order of DIFFERENTIABLE -> those of x"""
    by_name = dict(zip(DIFFERENTIABLE, grads, strict=True))
    if counts:
        for name, each in zip(("write_weight", "read_weight"), of_each(x, counts), strict=True):
            grad = by_name[name]
            by_name[name] = None if grad is None else strip_heads(grad, each)
    return list(by_name.values())
