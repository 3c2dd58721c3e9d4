"""The operations of the layer, one folder each: equations, PyTorch, native and Triton kernels."""

from __future__ import annotations

from ramgru.kernels import gpu, native
from ramgru.kernels.dispatch import info

__all__ = ["gpu", "info", "native"]
