"""Product keys by the native kernel: `native.h` beside this file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native

SIZES = "B T H A U W K found"
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
    top_k: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    given = _given(query, before, nothing, codes, sharpness, reset, sizes, offsets)
    B, T, H, found = *query.shape[:2], codes.shape[0], _found(top_k, sizes)
    real = given[0].dtype

    def made(*shape: int) -> tuple[Tensor, Tensor]:
        return torch.empty(shape, dtype=torch.int64), torch.empty(shape, dtype=real)

    addresses = (*made(B, T, H, found), *made(B, T, H, found), *made(H, found))
    numbers = (B, T, H, codes.shape[2], len(sizes), before.shape[1], top_k, found)
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
    top_k: int,
    sizes: tuple[int, ...],
    offsets: tuple[int, ...],
) -> list[Tensor | None]:
    given = _given(query, before, nothing, codes, sharpness, reset, sizes, offsets)
    B, T, H, found = *query.shape[:2], codes.shape[0], _found(top_k, sizes)
    of_weights = [None if g is None else g.to(given[0].dtype).contiguous() for g in grads[1::2]]
    outputs = [torch.empty_like(t) for t in given[:5]]
    numbers = (B, T, H, codes.shape[2], len(sizes), before.shape[1], top_k, found)
    native.call(
        "product_keys_backward",
        given[0].dtype,
        BACKWARD,
        numbers,
        (*given, *kept, *of_weights, *outputs),
    )
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


def _found(top_k: int, sizes: tuple[int, ...]) -> int:
    """How many cells come back: all there are, where there are fewer than top_k."""
    return min(top_k, math.prod(sizes))
