"""Into and out of a recurrence: the linear projection, and the gated sum of a memory's output."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramgru.kernels import native
from ramgru.kernels.dispatch import is_eager
from ramgru.kernels.fused import Fused
from ramgru.kernels.projection import cpu, reference

__all__ = ["Projection", "gated_sum", "projection", "reference"]

FEW = 64  # rows below which the overhead of a call exceeds the product

_projection = Fused(reference.projection, cpu.projection_forward, cpu.projection_backward)
_gated_sum = Fused(reference.gated_sum, cpu.gated_sum_forward, cpu.gated_sum_backward)


def projection(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """x (..., I), weight (O, I), bias (O,) -> (..., O); as `torch.nn.functional.linear`."""
    by_onednn = (
        is_eager()
        and x.dtype == weight.dtype == torch.float32
        and x.device.type == "cpu"
        and x.numel() >= FEW * x.shape[-1]
        and cpu.HAS_ONEDNN
        and torch.backends.mkldnn.enabled
        and not torch.is_autocast_enabled("cpu")
        and native.team_is_whole()
    )
    run = _projection if by_onednn else lambda tensors: reference.projection(*tensors)
    return run((x, weight, bias))[0]


class Projection(nn.Linear):
    """`torch.nn.Linear` by `projection`."""

    def forward(self, input: Tensor) -> Tensor:
        return projection(input, self.weight, self.bias)


def gated_sum(h: Tensor, gate: Tensor, added: Tensor) -> Tensor:
    """h + sigmoid(gate) added, in one pass; all (B, T, C) -> (B, T, C) in the widest dtype."""
    return _gated_sum((h, gate, added))[0]
