"""The gated linear recurrence of the minGRU controller."""

from __future__ import annotations

from torch import Tensor

from ramgru.kernels.linear_scan.operator import scan
from ramgru.kernels.linear_scan.reference import linear_scan as reference

__all__ = ["linear_scan", "reference"]


def linear_scan(decay: Tensor, update: Tensor, initial: Tensor) -> Tensor:
    """h[t] = decay[t] h[t-1] + update[t], elementwise, for all t.

    decay, update (B, T, H); initial (B, H), h before the first step -> h (B, T, H).
    A decay of 0 cuts off all that was before, also if it is not finite.
    float64 is computed in float64, everything else in float32. Differentiable to any order in all
    three, not in forward mode. Source: the recurrence of minGRU, arXiv 2410.01201, eq. of §3.1.
    """
    if decay.dim() != 3 or decay.shape != update.shape:
        raise ValueError(
            "decay, update: expected one shape (B, T, H), "
            f"got {tuple(decay.shape)} and {tuple(update.shape)}"
        )
    if initial.shape != (decay.shape[0], decay.shape[2]):
        raise ValueError(
            f"initial: expected shape {(decay.shape[0], decay.shape[2])}, "
            f"got {tuple(initial.shape)}"
        )
    return scan(decay, update, initial, False)
