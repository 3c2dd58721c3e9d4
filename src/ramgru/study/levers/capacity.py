"""How much a memory holds, from its recall at several sizes: bits recalled, and its capacity.

Pure numbers: nothing here knows of runs, files or torch.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

ENOUGH = 0.95  # the recall at which so many pairs count as held


def information(recall: float, values: float) -> float:
    """Bits that one answer gives about the value that was stored.

        I = log2 M − H2(p) − (1 − p) log2(M − 1)

    the mutual information of an M-ary symmetric channel that is right with probability p = recall
    and otherwise gives any of the M − 1 other values alike (Cover and Thomas, Elements of
    Information Theory, §7.2). By Fano's inequality (there, §2.10) no channel of that error rate
    over M = `values` equally likely values gives less. 0 where p is chance, 1/M, or below.
    """
    if not 0 <= recall <= 1:
        raise ValueError(f"recall must be in [0, 1], got {recall}")
    if values < 2:
        raise ValueError(f"values must be at least 2, got {values}")
    wrong = 1 - recall
    if recall * values <= 1:
        return 0.0
    if not wrong:
        return math.log2(values)
    entropy = -recall * math.log2(recall) - wrong * math.log2(wrong)
    return max(0.0, math.log2(values) - entropy - wrong * math.log2(values - 1))


def recalled_bits(pairs: int, recall: float, values: float) -> float:
    """Bits of all the pairs of one sequence together."""
    return pairs * information(recall, values)


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
