"""Addresses by the native kernels of `product_keys.h` and `short_convolution.h`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native

MaybeTensor = Tensor | None

KEYS_SIZES = "B T H A U W writes reads"
KEYS_TENSORS = (
    "query before nothing codes sharpness reset sizes offsets "
    "write_index write_weight read_index read_weight nothing_index nothing_weight"
)
KEYS_FORWARD = native.arguments("ProductKeysForward", KEYS_SIZES, KEYS_TENSORS)
KEYS_BACKWARD = native.arguments(
    "ProductKeysBackward",
    KEYS_SIZES,
    f"{KEYS_TENSORS} grad_write grad_read grad_query grad_before grad_sharpness",
)
CONVOLUTION_FORWARD = native.arguments(
    "ShortConvolutionForward", "B T C W", "input before nothing taps reset output"
)
CONVOLUTION_BACKWARD = native.arguments(
    "ShortConvolutionBackward",
    "B T C W",
    "input before nothing taps reset grad_output grad_input grad_before grad_taps",
)


def product_keys_forward(
    query: Tensor,
    before: Tensor,
    nothing: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: MaybeTensor,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    tensors = (query, before, nothing, codes, sharpness)
    given = [t.to(wide).contiguous() for t in tensors]
    N = math.prod(sizes)
    (B, T), (H, _, A), W = query.shape[:2], codes.shape, before.shape[1]
    writes, reads = min(writes, N), min(reads, N)
    places = [(B, T, H, writes), (B, T, H, reads), (H, writes)]
    made = [torch.empty(s, dtype=t) for s in places for t in (torch.int64, wide)]
    given_and_made = (*given, _contiguous(reset), _list(sizes), _list(offsets), *made)
    numbers = (B, T, H, A, len(sizes), W, writes, reads)
    native.call("product_keys_forward", wide, KEYS_FORWARD, numbers, given_and_made)
    return tuple(made[:4]), made


def product_keys_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *arguments: Any
) -> list[MaybeTensor]:
    query, before, _, codes, sharpness, reset, _, _, sizes, offsets = arguments
    wide = kept[1].dtype
    given = [t.to(wide).contiguous() for t in arguments[:5]]
    B, T, H, writes = kept[0].shape
    numbers = (B, T, H, codes.shape[2], len(sizes), before.shape[1], writes, kept[2].shape[3])
    weights = [None if g is None else g.to(wide).contiguous() for g in grads[1::2]]
    found = [torch.empty_like(given[i]) for i in (0, 1, 4)]
    native.call(
        "product_keys_backward",
        wide,
        KEYS_BACKWARD,
        numbers,
        (*given, _contiguous(reset), _list(sizes), _list(offsets), *kept, *weights, *found),
    )
    grad_query, grad_before, grad_sharpness = found
    return [
        *(grad_query.to(query.dtype), grad_before.to(before.dtype), None, None),
        *(grad_sharpness.to(sharpness.dtype), None),
    ]


def short_convolution_forward(
    x: Tensor, before: Tensor, nothing: Tensor, taps: Tensor, reset: MaybeTensor
) -> tuple[tuple[Tensor], list[Tensor]]:
    given = [_contiguous(t) for t in (x, before, nothing, taps, reset)]
    output = torch.empty(x.shape, dtype=x.dtype)
    sizes = (*x.shape, before.shape[1])
    native.call("short_convolution_forward", x.dtype, CONVOLUTION_FORWARD, sizes, (*given, output))
    return (output,), []


def short_convolution_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *arguments: Any
) -> list[MaybeTensor]:
    x, before, _, taps, _ = arguments
    given = [_contiguous(t) for t in (*arguments, grads[0])]
    grad_x, grad_before, grad_taps = (
        torch.empty(t.shape, dtype=t.dtype) for t in (x, before, taps)
    )
    sizes = (*x.shape, before.shape[1])
    tensors = (*given, grad_x, grad_before, grad_taps)
    native.call("short_convolution_backward", x.dtype, CONVOLUTION_BACKWARD, sizes, tensors)
    return [grad_x, grad_before, None, grad_taps, None]


def _contiguous(t: MaybeTensor) -> MaybeTensor:
    return None if t is None else t.contiguous()


@cache
def _list(numbers: tuple[int, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)
