"""The linear recurrence by the native kernel: `native.h` beside this file."""

from __future__ import annotations

import torch
from torch import Tensor

from ramgru.kernels import native

SCAN = native.arguments("LinearScan", "B T H reverse", "decay update initial states")


def scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    """decay, update (B, T, H), initial (B, H), all float32 or all float64 -> states (B, T, H)

    With `reverse`, from the last step to the first.
    """
    a, u, h = (x.resolve_neg().contiguous() for x in (decay, update, initial))
    states = torch.empty_like(u)
    native.call("linear_scan", u.dtype, SCAN, (*u.shape, int(reverse)), (a, u, h, states))
    return states
