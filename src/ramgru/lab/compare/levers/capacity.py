"""How many pairs a memory holds, from its recall at several sizes: its capacity.

Pure numbers: nothing here knows of runs, files or torch.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 0.95  # the recall at which so many pairs count as held


@dataclass(frozen=True)
class Capacity:
    """The most pairs that are held. at_least: the largest size measured was held still."""

    pairs: float
    at_least: bool = False


def capacity(sizes: Sequence[int], recall: Sequence[float], enough: float = ENOUGH) -> Capacity:
    """The most pairs at which recall is `enough`, before it first falls below.

    Between two measured sizes recall is taken as linear in the logarithm of the size. Where not
    even the smallest is held, that is 0: nothing is known of sizes below it.
    """
    measured = sorted(zip(sizes, recall, strict=True))
    if not measured:
        raise ValueError("sizes must hold at least one size, got none")
    if measured[0][1] < enough:
        return Capacity(0.0)
    for (held, above), (lost, below) in itertools.pairwise(measured):
        if below < enough:
            share = (above - enough) / (above - below)
            return Capacity(held * (lost / held) ** share)
    return Capacity(float(measured[-1][0]), at_least=True)
