"""x W^T + b for many rows: torch's linear, by the faster of the two libraries that torch brings.

In float32 on a CPU torch multiplies with MKL. On processors that MKL was not made for, oneDNN,
which torch carries too, is 10 to 15 % faster in the forward product and in that of the input's
gradient, and slower in that of the weight's (docs/performance.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ramgru.kernels.fused import Fused, is_plain

FEW = 64  # rows below which a call costs more than the product


HAS_ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")


def _product(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """x (rows, I), weight (O, I) -> (rows, O)"""
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def _parts(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor]:
    return (linear(x, weight, bias),)


def _forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[tuple[Tensor], list[Tensor]]:
    y = _product(x.reshape(-1, x.shape[-1]), weight, bias)
    return (y.view(*x.shape[:-1], -1),), []


def _backward(
    grads: Sequence[Tensor | None],
    kept: Sequence[Tensor],
    needed: Sequence[bool],
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
) -> list[Tensor | None]:
    assert grads[0] is not None
    grad, rows = grads[0].reshape(-1, weight.shape[0]), x.reshape(-1, x.shape[-1])
    return [
        _product(grad, weight.t(), None).view_as(x) if needed[0] else None,
        grad.t() @ rows if needed[1] else None,
        grad.sum(0) if needed[2] else None,
    ]


_fused = Fused(_parts, _forward, _backward)


def projection(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I), weight (O, I), bias (O,) -> (..., O); as `torch.nn.functional.linear`."""
    by_onednn = (
        is_plain()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() >= FEW * x.shape[-1]
        and HAS_ONEDNN
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
    )
    return _fused((x, weight, bias))[0] if by_onednn else linear(x, weight, bias)


class Projection(nn.Linear):
    """`torch.nn.Linear` by `projection`."""

    def forward(self, input: Tensor) -> Tensor:
        return projection(input, self.weight, self.bias)
