"""The learning rate as a function of the step alone, so that a checkpoint needs only the step."""

from __future__ import annotations

import math
from typing import Literal


def learning_rate(
    step: int,
    total: int,
    *,
    lr: float,
    warmup: int,
    schedule: Literal["constant", "cosine", "linear"],
) -> float:
    """Of optimizer step `step` (counted from 0) among `total`: a linear rise over `warmup` steps,
    then constant, or falling to zero along half a cosine or a line."""
    if step < warmup:
        return lr * (step + 1) / warmup
    if schedule == "constant":
        return lr
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    if schedule == "cosine":
        return lr * 0.5 * (1 + math.cos(math.pi * done))
    return lr * (1 - done)
