"""Product keys by the native kernel: `native.h` beside this file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native

SIZES = "B T H A U W writes reads"
GIVEN = "query before nothing codes sharpness reset sizes offsets"
ADDRESSES = "write_index write_weight read_index read_weight nothing_index nothing_weight"
GRADS = "query before nothing codes sharpness"
FORWARD = native.arguments("ProductKeysForward", SIZES, f"{GIVEN} {ADDRESSES}")
BACKWARD = native.arguments(
    "ProductKeysBackward",
    SIZES,
    f"{GIVEN} {ADDRESSES} grad_write grad_read "
    + " ".join(f"grad_{name}" for name in GRADS.split()),
)


def forward(
    query: Tensor,
    before: Tensor,
    nothing: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: Tensor | None,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    given = _given(query, before, nothing, codes, sharpness, reset, sizes, offsets)
    numbers, real = _numbers(query, before, codes, writes, reads, sizes), given[0].dtype
    B, T, H, *_, writes, reads = numbers

    def made(*shape: int) -> tuple[Tensor, Tensor]:
        return torch.empty(shape, dtype=torch.int64), torch.empty(shape, dtype=real)

    addresses = (*made(B, T, H, writes), *made(B, T, H, reads), *made(H, writes))
    native.call("product_keys_forward", real, FORWARD, numbers, (*given, *addresses))
    return addresses[:4], list(addresses)


def backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    query: Tensor,
    before: Tensor,
    nothing: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: Tensor | None,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> list[Tensor | None]:
    given = _given(query, before, nothing, codes, sharpness, reset, sizes, offsets)
    of_weights = [None if g is None else g.to(given[0].dtype).contiguous() for g in grads[1::2]]
    outputs = [torch.empty_like(t) for t in given[:5]]
    numbers = _numbers(query, before, codes, writes, reads, sizes)
    given = (*given, *kept, *of_weights, *outputs)
    native.call("product_keys_backward", given[0].dtype, BACKWARD, numbers, given)
    tensors = (query, before, nothing, codes, sharpness)
    return [*(g.to(t.dtype) for g, t in zip(outputs, tensors, strict=True)), None]


def _given(
    query: Tensor,
    before: Tensor,
    nothing: Tensor,
    codes: Tensor,
    sharpness: Tensor,
    reset: Tensor | None,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[Any, ...]:
    """What both kernels are given: contiguous, float32 or wider."""
    wide = torch.float64 if query.dtype == torch.float64 else torch.float32
    tensors = (t.to(wide).contiguous() for t in (query, before, nothing, codes, sharpness))
    return *tensors, None if reset is None else reset.contiguous(), _list(sizes), _list(offsets)


@cache
def _list(numbers: tuple[int, ...]) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64)


def _numbers(
    query: Tensor,
    before: Tensor,
    codes: Tensor,
    writes: int,
    reads: int,
    sizes: tuple[int, ...],
) -> tuple[int, ...]:
    """The fields SIZES; no more cells are written or read than there are."""
    N = math.prod(sizes)
    (B, T), (H, _, A), W = query.shape[:2], codes.shape, before.shape[1]
    return B, T, H, A, len(sizes), W, min(writes, N), min(reads, N)
