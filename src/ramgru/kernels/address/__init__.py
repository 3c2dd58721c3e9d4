"""Which cells a step writes and reads: keys over a short window, and the nearest cells to a key.

B sequences, T steps, W steps of context before the first, H heads, U codebooks of n_1 … n_U codes,
N = n_1 · … · n_U cells a head, A numbers of a query for each codebook, C channels.
"""

from __future__ import annotations

from torch import Tensor

from ramgru.kernels.address import cpu, reference
from ramgru.kernels.address import torch as portable
from ramgru.kernels.fused import Fused

__all__ = ["product_keys", "reference", "short_convolution"]

_product_keys = Fused(portable.product_keys, cpu.product_keys_forward, cpu.product_keys_backward)
_short_convolution = Fused(
    portable.short_convolution, cpu.short_convolution_forward, cpu.short_convolution_backward
)


def product_keys(
    query: Tensor,  # (B, T, H·U·A)
    before: Tensor,  # (B, W, H·U·A) the queries of the W steps before
    nothing: Tensor,  # (H·U·A) the query in place of a step before a reset; gets no gradient
    codes: Tensor,  # (H, n_1 + … + n_U, A) codebook after codebook; gets no gradient
    sharpness: Tensor,  # (H,) the logarithm of a factor of all scores
    reset: Tensor | None,  # (B, T) True where a sequence starts anew
    *,
    writes: int,  # cells that a step writes, at most N
    reads: int,  # cells that a step reads, at most N
    sizes: tuple[int, ...],  # n_1 … n_U
    offsets: tuple[int, ...],  # (H) a head writes at the query of so many steps before, at most W
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """-> cells to write and their weights (B, T, H, writes), cells to read and theirs (…, reads).

    Of the max(writes, reads) nearest cells, nearest first, the first `writes` are written and the
    first `reads` are read. The weights of a write are exp(score - best score), so that the nearest
    cell is written in full. The weights of a read are a softmax over the cells that it reads.
    """
    tensors = (query, before, nothing.detach(), codes.detach(), sharpness, reset)
    found = _product_keys(tensors, writes, reads, sizes, offsets)
    return found  # type: ignore[return-value]


def short_convolution(
    x: Tensor,  # (B, T, C)
    before: Tensor,  # (B, W, C) the W steps before the first
    nothing: Tensor,  # (C,) the input in place of a step before a reset; gets no gradient
    taps: Tensor,  # (W + 1, C) the tap of a step itself, of the step before it, …
    reset: Tensor | None,  # (B, T) True where a sequence starts anew
) -> Tensor:
    """y[t] = sum_o taps[o] x[t - o], each channel by its own taps -> (B, T, C)"""
    return _short_convolution((x, before, nothing.detach(), taps, reset))[0]
