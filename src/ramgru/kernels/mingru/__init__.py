"""The minGRU recurrence with its gate, from what was projected to hidden states, in one pass."""

from __future__ import annotations

from ramgru.kernels.fused import Fused
from ramgru.kernels.mingru import native, parts
from ramgru.kernels.mingru.parts import mingru as reference

__all__ = ["mingru", "reference"]

mingru = Fused(parts.mingru, native.forward, native.backward, "ramgru.kernels.mingru.triton_gates")
