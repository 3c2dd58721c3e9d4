"""Which cells a step writes and reads: keys over a short window, and the nearest cells to a key.

B sequences, T steps, W steps of context before the first, H heads, A numbers of a key, U codebooks
of n_1 … n_U codes, F features of a codebook, N = n_1 · … · n_U cells a head, C channels.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from ramgru.kernels.address import cpu, reference
from ramgru.kernels.address import torch as portable
from ramgru.kernels.address.cpu import packed
from ramgru.kernels.address.torch import earlier
from ramgru.kernels.fused import Fused

__all__ = [
    "earlier",
    "packed",
    "product_keys",
    "product_keys_path",
    "reference",
    "short_convolution",
    "tag_rows",
    "unit",
]

_product_keys = Fused(portable.product_keys, cpu.product_keys_forward, cpu.product_keys_backward)
_unit = Fused(portable.unit, cpu.unit_forward, cpu.unit_backward)
_tag_rows = Fused(portable.tag_rows, cpu.tag_rows_forward, cpu.tag_rows_backward)
_short_convolution = Fused(
    portable.short_convolution, cpu.short_convolution_forward, cpu.short_convolution_backward
)


def product_keys(
    key: Tensor,  # (B, T, H·A) of any length: it is normalised here
    before: Tensor,  # (B, W, H·A) the keys of the W steps before
    features: Tensor,  # (H, U·F, A)
    phases: Tensor,  # (H, U·F)
    codes: Tensor,  # (H, n_1 + … + n_U, F) codebook after codebook, of any length
    sharpness: Tensor,  # (H,) the logarithm of a factor of all scores
    reset: Tensor | None,  # (B, T) True where a sequence starts anew
    *,
    writes: int,  # cells that a step writes, at most N
    reads: int,  # cells that a step reads, at most N
    sizes: tuple[int, ...],  # n_1 … n_U
    offsets: tuple[int, ...],  # (H) a head writes at the key of so many steps before, at most W
    packed: tuple[Tensor, ...] | None = None,  # `packed` features, phases and codes, if known
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> cells to write and their weights (B, T, H, writes), cells to read and theirs (…, reads).

        query = cos(features · unit(key) + phases);   score of a cell = sum_u query_u · code_u

    Queries and codes are normalised, and a step before a reset has the zero key. Of the
    max(writes, reads) nearest cells, nearest first, the first `writes` are written and the first
    `reads` are read. The weights of a write are exp(score - best score), so that the nearest cell
    is written in full. The weights of a read are a softmax over the cells that it reads.

    Only `sharpness` gets a gradient: the hash is frozen, and passes none on to the key.
    """
    frozen = (t.detach() for t in (key, before, features, phases, codes))
    found = _product_keys((*frozen, sharpness, reset), writes, reads, sizes, offsets, packed)
    return found  # type: ignore[return-value]


def product_keys_path(*tensors: Tensor) -> str:
    """The code that computes `product_keys` of tensors like these (`dispatch`)."""
    return _product_keys.operation.choose(*tensors).path


def unit(key: Tensor) -> Tensor:
    """key (…, A), scaled to the length sqrt(A); a zero key stays zero and gets no gradient."""
    return _unit((key,))[0]


def tag_rows(
    candidate: Tensor,  # (B, T, G, D)
    keys: Sequence[Tensor],  # (B, T, H, A) of at most two groups, the first of the G heads
    queries: Sequence[Tensor],  # as keys, or none
    tag: int,  # numbers of a key that are its tag
) -> tuple[Tensor, Tensor]:
    """-> candidates with their tags (B, T, G, D + tag), and the tags of queries (B, T, G, tag);
    zeros where there is no key."""
    groups = [[*given, None, None][:2] for given in (keys, queries)]
    heads = tuple(key.shape[2] for key in keys)
    rows, query = _tag_rows((candidate, *groups[0], *groups[1]), tag, heads)
    return rows, query


def short_convolution(
    x: Tensor,  # (B, T, C)
    before: Tensor,  # (B, W, C) the W steps before the first
    taps: Tensor,  # (W + 1, C) the tap of a step itself, of the step before it, …
    reset: Tensor | None,  # (B, T) True where a sequence starts anew: x counts as 0 before it
) -> Tensor:
    """y[t] = sum_o taps[o] x[t - o], each channel by its own taps -> (B, T, C)"""
    return _short_convolution((x, before, taps, reset))[0]
