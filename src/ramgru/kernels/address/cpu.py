"""Addresses by the native kernels of `product_keys.h`, `unit.h` and `short_convolution.h`."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize, pad

from ramgru.kernels import native
from ramgru.kernels.address.reference import centre

MaybeTensor = Tensor | None

KEYS_FORWARD = native.arguments(
    "ProductKeysForward",
    "B T H A F U W writes reads",
    "key before features codes sharpness reset sizes offsets "
    "write_index write_weight read_index read_weight",
)
KEYS_BACKWARD = native.arguments(
    "ProductKeysBackward",
    "rows H writes reads",
    "write_weight read_weight grad_write grad_read grad_sharpness",
)
UNIT_FORWARD = native.arguments("UnitForward", "rows A", "key unit scale")
UNIT_BACKWARD = native.arguments("UnitBackward", "rows A", "unit scale grad_unit grad_key")
TAG_SIZES = "steps G D A N heads_a heads_b"
TAG_FORWARD = native.arguments(
    "TagRowsForward", TAG_SIZES, "candidate key_a key_b query_a query_b rows query"
)
TAG_BACKWARD = native.arguments(
    "TagRowsBackward",
    TAG_SIZES,
    "grad_rows grad_query grad_candidate grad_key_a grad_key_b grad_query_a grad_query_b",
)
CONVOLUTION_FORWARD = native.arguments(
    "ShortConvolutionForward", "B T C W", "input before taps reset output"
)
CONVOLUTION_BACKWARD = native.arguments(
    "ShortConvolutionBackward",
    "B T C W",
    "input before taps reset grad_output grad_input grad_before grad_taps",
)


def packed(
    features: Tensor, phases: Tensor, codes: Tensor, sizes: Sequence[int]
) -> tuple[Tensor, Tensor]:
    """Features with phases, and codes, as `Hash` in `nearest.h` reads them: transposed, in rows of
    a multiple of 16 numbers, which every instruction set reads in whole vectors."""

    def rows(x: Tensor) -> Tensor:  # (H, n, A) -> (H, A · n rounded up)
        return pad(x.transpose(1, 2), (0, -x.shape[1] % 16)).flatten(1)

    books = normalize(codes, dim=-1).split(tuple(sizes), dim=1)
    last = torch.stack([phases, centre(features, phases)], dim=-1)
    return rows(torch.cat([features, last], dim=-1)).contiguous(), torch.cat(
        [rows(book) for book in books], dim=1
    )


def product_keys_forward(
    key: Tensor,
    before: Tensor,
    features: Tensor,
    phases: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: MaybeTensor,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
    hashed: tuple[Tensor, ...] | None,
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    wide = torch.float64 if key.dtype == torch.float64 else torch.float32
    if hashed is None:
        hashed = packed(features.to(wide), phases.to(wide), codes.to(wide), sizes)
    (B, T), H, W, N = key.shape[:2], codes.shape[0], before.shape[1], math.prod(sizes)
    writes, reads = min(writes, N), min(reads, N)
    places = [(B, T, H, writes), (B, T, H, reads)]
    made = [torch.empty(s, dtype=t) for s in places for t in (torch.int64, wide)]
    numbers = (B, T, H, features.shape[2], codes.shape[2], len(sizes), W, writes, reads)
    given = (
        *(t.to(wide).contiguous() for t in (key, before)),
        *hashed,
        sharpness.to(wide).contiguous(),
        _contiguous(reset),
        _list(sizes),
        _list(offsets),
    )
    native.call("product_keys_forward", wide, KEYS_FORWARD, numbers, (*given, *made))
    return tuple(made), made[1::2]


def product_keys_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *arguments: Any
) -> list[MaybeTensor]:
    (write, read), sharpness = kept, arguments[5]
    B, T, H, writes = write.shape
    above = [None if g is None else g.to(write.dtype).contiguous() for g in grads[1::2]]
    found = torch.empty(H, dtype=write.dtype)
    sizes = (B * T, H, writes, read.shape[3])
    native.call(
        "product_keys_backward", write.dtype, KEYS_BACKWARD, sizes, (write, read, *above, found)
    )
    return [None] * 5 + [found.to(sharpness.dtype), None]


def unit_forward(key: Tensor) -> tuple[tuple[Tensor], list[Tensor]]:
    wide = torch.float64 if key.dtype == torch.float64 else torch.float32
    given = key.to(wide).contiguous()
    found, scale = torch.empty_like(given), torch.empty(given.shape[:-1], dtype=wide)
    sizes = (scale.numel(), given.shape[-1])
    native.call("unit_forward", wide, UNIT_FORWARD, sizes, (given, found, scale))
    return (found.to(key.dtype),), [found, scale]


def unit_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], key: Tensor
) -> list[MaybeTensor]:
    (grad,), (found, scale) = grads, kept
    assert grad is not None
    above, grad_key = grad.to(found.dtype).contiguous(), torch.empty_like(found)
    sizes, tensors = (scale.numel(), found.shape[-1]), (found, scale, above, grad_key)
    native.call("unit_backward", found.dtype, UNIT_BACKWARD, sizes, tensors)
    return [grad_key.to(key.dtype)]


def tag_rows_forward(candidate: Tensor, *given: Any) -> tuple[tuple[Tensor, Tensor], list[Tensor]]:
    *keys, tag, _ = given
    (*steps, G, D), dtype = candidate.shape, candidate.dtype
    tensors = [None if t is None else t.to(dtype).contiguous() for t in (candidate, *keys)]
    rows, query = (torch.empty(*steps, G, n, dtype=dtype) for n in (D + tag, tag))
    sizes = _tag_sizes(candidate, *given)
    native.call("tag_rows_forward", dtype, TAG_FORWARD, sizes, (*tensors, rows, query))
    return (rows, query), []


def tag_rows_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    candidate, dtype = given[0], given[0].dtype
    above = [None if g is None else g.to(dtype).contiguous() for g in grads]
    found = [torch.empty(t.shape, dtype=dtype) if need else None for t, need in zip(given, needed)]
    native.call(
        "tag_rows_backward",
        dtype,
        TAG_BACKWARD,
        _tag_sizes(candidate, *given[1:]),
        (*above, *found),
    )
    return [None if g is None else g.to(t.dtype) for g, t in zip(found, given)]


def _tag_sizes(candidate: Tensor, *given: Any) -> tuple[int, ...]:
    *keys, tag, heads = given
    numbers = [key.shape[-1] for key in keys if key is not None]
    (*steps, G, D), (heads_a, heads_b) = candidate.shape, (*heads, 0, 0)[:2]
    return math.prod(steps), G, D, tag, (*numbers, 0)[0], heads_a, heads_b


def short_convolution_forward(
    x: Tensor, before: Tensor, taps: Tensor, reset: MaybeTensor
) -> tuple[tuple[Tensor], list[Tensor]]:
    given = [_contiguous(t) for t in (x, before, taps, reset)]
    output = torch.empty(x.shape, dtype=x.dtype)
    sizes = (*x.shape, before.shape[1])
    native.call("short_convolution_forward", x.dtype, CONVOLUTION_FORWARD, sizes, (*given, output))
    return (output,), []


def short_convolution_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *arguments: Any
) -> list[MaybeTensor]:
    x, before, taps, _ = arguments
    given = [_contiguous(t) for t in (*arguments, grads[0])]
    found = [torch.empty(t.shape, dtype=t.dtype) for t in (x, before, taps)]
    sizes = (*x.shape, before.shape[1])
    tensors = (*given, *found)
    native.call("short_convolution_backward", x.dtype, CONVOLUTION_BACKWARD, sizes, tensors)
    return [*found, None]


def _contiguous(t: MaybeTensor) -> MaybeTensor:
    return None if t is None else t.contiguous()


@cache
def _list(numbers: tuple[int, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)
