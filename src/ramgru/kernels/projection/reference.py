"""The projection and the gated sum as their equations: also the portable path, on any device."""

from __future__ import annotations

import torch
from torch import Tensor


def projection(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> tuple[Tensor]:
    """x W^T + b"""
    return (torch.nn.functional.linear(x, weight, bias),)


def gated_sum(h: Tensor, gate: Tensor, added: Tensor) -> tuple[Tensor]:
    """h + sigmoid(gate) added, in the widest dtype"""
    return (h + torch.sigmoid(gate) * added,)
