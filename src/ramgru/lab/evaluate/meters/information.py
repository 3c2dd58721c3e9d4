"""Bits that right answers prove: what a memory, or a network's weights, must have held.

Pure numbers: nothing here knows of runs, files or torch.
"""

from __future__ import annotations

import math


def information(accuracy: float, values: float) -> float:
    """Bits that one answer gives about the value that was stored.

        I = log2 M − H2(p) − (1 − p) log2(M − 1)

    the mutual information of an M-ary symmetric channel that is right with probability p = accuracy
    and otherwise gives any of the M − 1 other values alike (Cover and Thomas, Elements of
    Information Theory, §7.2). By Fano's inequality (there, §2.10) no channel of that error rate
    over M = `values` equally likely values gives less. 0 where p is chance, 1/M, or below.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy must be in [0, 1], got {accuracy}")
    if values < 2:
        raise ValueError(f"values must be at least 2, got {values}")
    wrong = 1 - accuracy
    if accuracy * values <= 1:
        return 0.0
    if not wrong:
        return math.log2(values)
    entropy = -accuracy * math.log2(accuracy) - wrong * math.log2(wrong)
    return max(0.0, math.log2(values) - entropy - wrong * math.log2(values - 1))


def recalled_bits(answers: int, accuracy: float, values: float) -> float:
    """Bits of `answers` independent values together."""
    return answers * information(accuracy, values)
