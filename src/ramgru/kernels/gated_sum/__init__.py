"""What is added through a gate: h + sigmoid(g) r, in one pass."""

from __future__ import annotations

from ramgru.kernels.fused import Fused
from ramgru.kernels.gated_sum import native, parts
from ramgru.kernels.gated_sum.parts import gated_sum as reference

__all__ = ["gated_sum", "reference"]

gated_sum = Fused(parts.gated_sum, native.forward, native.backward)
