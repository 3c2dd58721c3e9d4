"""The projection by oneDNN, and the gated sum by the native kernel of `gated_sum.h`.

In float32 on a CPU torch multiplies with MKL. On processors that MKL was not made for, oneDNN,
which torch carries too, is 10 to 15 % faster in the forward product and in the gradient of the
input, and slower in the gradient of the weight (docs/performance.md).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import native

MaybeTensor = Tensor | None

SIZES = "B T C wide out_b out_t"
GATED_SUM_FORWARD = native.arguments("GatedSumForward", f"{SIZES} h_b h_t", "gate added h out")
GATED_SUM_BACKWARD = native.arguments(
    "GatedSumBackward", SIZES, "gate added grad_gate grad_added grad_out"
)

HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def projection_forward(
    x: Tensor, weight: Tensor, bias: Tensor | None
) -> tuple[tuple[Tensor], list[Tensor]]:
    y = _product(x.reshape(-1, x.shape[-1]), weight, bias)
    return (y.view(*x.shape[:-1], -1),), []


def projection_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    assert grads[0] is not None
    x, weight, _ = given
    grad, rows = grads[0].reshape(-1, weight.shape[0]), x.reshape(-1, x.shape[-1])
    return [
        _product(grad, weight.t(), None).view_as(x) if needed[0] else None,
        grad.t() @ rows if needed[1] else None,
        grad.sum(0) if needed[2] else None,
    ]


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (rows, I), weight (O, I) -> (rows, O)"""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def gated_sum_forward(h: Tensor, gate: Tensor, added: Tensor) -> tuple[tuple[Tensor], list[Tensor]]:
    g, r = _storage(h, gate, added)
    h = _rows(h.to(_dtype(h, gate, added)))
    out = torch.empty_like(h)  # strided as h: the rounding of a product may depend on the layout
    sizes = (*h.shape, int(out.dtype != g.dtype), *out.stride()[:2], *h.stride()[:2])
    native.call("gated_sum_forward", g.dtype, GATED_SUM_FORWARD, sizes, (g, r), (h, out))
    return (out,), []


def gated_sum_backward(
    grads: Sequence[MaybeTensor], kept: Sequence[Tensor], needed: Sequence[bool], *given: Any
) -> list[MaybeTensor]:
    (grad,), (h, gate, added) = grads, given
    assert grad is not None
    if not (needed[1] or needed[2]):
        return [grad.to(h.dtype), None, None]
    g, r = _storage(h, gate, added)
    grad_gate, grad_added = torch.empty_like(g), torch.empty_like(r)
    above = _rows(grad)
    sizes = (*above.shape, int(above.dtype != g.dtype), *above.stride()[:2])
    tensors = (g, r, grad_gate, grad_added)
    native.call("gated_sum_backward", g.dtype, GATED_SUM_BACKWARD, sizes, tensors, (above,))
    return [grad.to(h.dtype), grad_gate.to(gate.dtype), grad_added.to(added.dtype)]


def _dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype of the sum."""
    return functools.reduce(torch.promote_types, (t.dtype for t in tensors))


def _storage(h: Tensor, gate: Tensor, added: Tensor) -> tuple[Tensor, Tensor]:
    """Gate and added as the kernel reads them: stored like the sum, or both in bfloat16."""
    out = _dtype(h, gate, added)
    narrow = gate.dtype == added.dtype == torch.bfloat16 and out != torch.float64
    storage = torch.bfloat16 if narrow else out
    return gate.to(storage).contiguous(), added.to(storage).contiguous()


def _rows(x: Tensor) -> Tensor:
    """(B, T, C) with stride 1 over channels."""
    return x if x.stride(2) == 1 else x.contiguous()
