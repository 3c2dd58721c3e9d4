"""Confidence interval of a proportion: Wilson's score interval.

E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927, eq. 4.
"""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The 95 % confidence interval of a proportion, given `right` of `count` independent answers.

    The interval stays within [0, 1] and keeps a width at 0 and 1, where the normal approximation
    shrinks to a point. With count = 0 the interval is (0, 1).
    """
    if not 0 <= right <= count:
        raise ValueError(f"right must be in [0, count], got right={right}, count={count}")
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
