"""Short-term memory capacity: how many past inputs a linear readout finds in the units.

H. Jaeger, "Short term memory in echo state networks" (GMD report 152, 2001): white noise u goes in;
for each delay k a linear readout of the units at step t is fitted to u(t − k); the capacity is the
sum over k = 1, 2, … of the squared correlation r²(k) of the two. As past inputs do not depend on
each other, it is no more than the number of units (there, proposition 2).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import torch
from torch import Tensor

# Noise (B, T) -> units (B, T, U), all float64; the units at step t have seen the noise up to t.
Drive = Callable[[Tensor], Tensor]

STREAMS = 8  # of independent noise, side by side; as many again to test on
FALSE_ALARM = 1e-3  # how often any delay of a memory of nothing may pass for remembered


@dataclass(frozen=True)
class ShortTermMemory:
    """capacity: inputs remembered, the sum of what `curve` has above `limit` from delay 1 on
    curve:    r²(k) for k = 0, 1, …, delays, on streams the readouts were not fitted to
    limit:    r² that readouts of units without any memory stay below
    units:    what the readouts see; no capacity is larger
    steps:    steps on which each r² was measured
    """

    capacity: float
    curve: list[float]
    limit: float
    units: int
    steps: int


def short_term_memory(
    drive: Drive, *, delays: int = 64, steps: int = 8192, seed: int = 0
) -> ShortTermMemory:
    """Measure what `drive` (see `drive.py` here) remembers of white noise that is
    uniform in [−1/2, 1/2]; the same bits for the same seed.

    delays: the longest delay that is asked for
    steps:  steps to fit on, and as many to test on, after 2 · delays that are left out: what was
            before the first step must be forgotten. At least 10 a unit.

    On n steps even unrelated series reach r² = 1/n, and a hundred delays add that up a hundred
    times. So r² counts only where it lies beyond what all delays of a memory of nothing would stay
    below in 999 of 1,000 such measurements (n r² is then χ² with one degree of freedom), and there
    less its mean excess: 1 − (1 − r²)(n − 1)/(n − 2). Nothing is taken from an r² of 1.
    """
    for name, value in (("delays", delays), ("steps", steps)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    each, washout = -(-steps // STREAMS), 2 * delays
    source = torch.Generator().manual_seed(seed)
    noise = torch.rand(2 * STREAMS, washout + each, dtype=torch.float64, generator=source) - 0.5
    with torch.no_grad():
        units = drive(noise)
    if units.shape[:2] != noise.shape or units.dtype != torch.float64:
        raise ValueError(
            f"drive must return units (B, T, U) of float64 for noise {tuple(noise.shape)}, "
            f"got {tuple(units.shape)} of {units.dtype}"
        )
    n, count = STREAMS * each, units.shape[-1]
    if n < 10 * count:
        raise ValueError(f"steps must be at least {10 * count} for {count} units, got {steps}")
    past = torch.stack(  # (B, each, 1 + delays)
        [noise[:, washout - k : washout - k + each] for k in range(1 + delays)], dim=-1
    )
    kept = units[:, washout:]
    curve = squared_correlation(
        *(part.flatten(0, 1) for half in (slice(STREAMS), slice(STREAMS, None))
          for part in (kept[half], past[half]))
    )  # fmt: skip
    limit = NormalDist().inv_cdf(1 - FALSE_ALARM / (2 * delays)) ** 2 / n
    counted = [1 - (1 - r2) * (n - 1) / (n - 2) for r2 in curve[1:] if r2 > limit]
    return ShortTermMemory(sum(counted), curve, limit, count, n)


def squared_correlation(x: Tensor, y: Tensor, new_x: Tensor, new_y: Tensor) -> list[float]:
    """Fit least squares from x (n, U) to each column of y (n, K); -> r² of each with new_y (m, K).

    Directions of x that are there by rounding alone are left out, as `numpy.linalg.lstsq` does:
    small ones are no less a memory, but what is found in rounding errors is none.
    """
    mean = x.mean(0)
    left, sizes, right = torch.linalg.svd(x - mean, full_matrices=False)
    real = sizes > sizes.max() * max(x.shape) * torch.finfo(x.dtype).eps
    weights = right[real].mT @ ((left[:, real].mT @ (y - y.mean(0))) / sizes[real, None])
    found = (new_x - mean) @ weights
    found, wanted = found - found.mean(0), new_y - new_y.mean(0)
    spread = found.square().sum(0) * wanted.square().sum(0)
    r2 = (found * wanted).sum(0).square() / torch.where(spread > 0, spread, 1.0)
    return [float(value) for value in r2]
