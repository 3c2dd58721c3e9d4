"""A causal convolution over a short window, each channel by its own taps, in one pass."""

from __future__ import annotations

from ramgru.kernels.fused import Fused
from ramgru.kernels.short_convolution import native, parts
from ramgru.kernels.short_convolution.parts import short_convolution as reference

__all__ = ["reference", "short_convolution"]

short_convolution = Fused(parts.short_convolution, native.forward, native.backward)
