"""The operations of the layer, one folder each: equations, PyTorch, native and Triton kernels."""

from __future__ import annotations

from ramgru.kernels import gpu, native

TRITON = ("linear_scan", "memory_scan", "mingru", "product_keys")
OTHERS = ("gated_sum", "gru", "layer_step", "short_convolution")


def info() -> dict[str, str]:
    """The name of each operation -> a line about the code that computes it."""
    line = native.summary()
    found = dict.fromkeys(OTHERS, line) | dict.fromkeys(TRITON, f"{line}; {gpu.summary()}")
    return dict(sorted(found.items()))
