"""From projected queries to the addresses of writes and reads, the best of all cells."""

from __future__ import annotations

from ramgru.kernels.fused import Fused
from ramgru.kernels.product_keys import native, parts
from ramgru.kernels.product_keys.parts import product_keys as reference

__all__ = ["product_keys", "reference"]

product_keys = Fused(parts.product_keys, native.forward, native.backward)
