"""The short convolution by the native kernel: `native.h` beside this file."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from ramgru.kernels import native

FORWARD = native.arguments(
    "ShortConvolutionForward", "B T C W", "input before nothing taps reset output"
)
BACKWARD = native.arguments(
    "ShortConvolutionBackward",
    "B T C W",
    "input before nothing taps reset grad_output grad_input grad_before grad_nothing grad_taps",
)


def forward(
    x: Tensor, before: Tensor, nothing: Tensor, taps: Tensor, reset: Tensor | None
) -> tuple[tuple[Tensor], list[Tensor]]:
    given = _contiguous(x, before, nothing, taps, reset)
    output = torch.empty(x.shape, dtype=x.dtype)
    sizes = (*x.shape, before.shape[1])
    native.call("short_convolution_forward", x.dtype, FORWARD, sizes, (*given, output))
    return (output,), []


def backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    x: Tensor,
    before: Tensor,
    nothing: Tensor,
    taps: Tensor,
    reset: Tensor | None,
) -> list[Tensor | None]:
    assert grads[0] is not None
    *given, r = _contiguous(x, before, nothing, taps, reset)
    found = [torch.empty_like(v) for v in given if v is not None]
    sizes = (*x.shape, before.shape[1])
    tensors = (*given, r, grads[0].contiguous(), *found)
    native.call("short_convolution_backward", x.dtype, BACKWARD, sizes, tensors)
    return [*found, None]


def _contiguous(*tensors: Tensor | None) -> list[Tensor | None]:
    return [None if t is None else t.contiguous() for t in tensors]
