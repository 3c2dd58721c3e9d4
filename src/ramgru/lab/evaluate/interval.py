"""How sure a share is: Wilson's score interval.

E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927, eq. 4.
"""

from __future__ import annotations

import math

Z95 = 1.959963984540054  # the 97.5 % point of the normal distribution


def wilson(right: int, count: int, z: float = Z95) -> tuple[float, float]:
    """The 95 % interval of a share of which `right` of `count` were seen; (0, 1) of nothing.

    It stays within [0, 1] and is of use at shares of 0 and 1, where the usual one shrinks to a
    point. It takes the answers as independent of each other.
    """
    if not 0 <= right <= count:
        raise ValueError(f"right must be in [0, count], got right={right}, count={count}")
    if count == 0:
        return 0.0, 1.0
    share, spread = right / count, z * z / count
    middle = (share + spread / 2) / (1 + spread)
    half = z * math.sqrt(share * (1 - share) / count + spread / (4 * count)) / (1 + spread)
    return max(0.0, middle - half), min(1.0, middle + half)
