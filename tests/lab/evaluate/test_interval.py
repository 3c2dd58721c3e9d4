"""Wilson's interval against its definition: the proportions that a test does not reject."""

from __future__ import annotations

import math

import pytest

from ramgru.lab.evaluate import wilson
from ramgru.lab.evaluate.interval import Z95


@pytest.mark.parametrize(("right", "count"), [(0, 1), (1, 1), (3, 10), (50, 100), (9999, 10_000)])
def test_ends_lie_z_deviations_from_the_share(right, count):
    for end, side in zip(wilson(right, count), (1, -1)):
        deviation = math.sqrt(end * (1 - end) / count)
        assert right / count - end == pytest.approx(side * Z95 * deviation, abs=1e-12)


def test_published_value():
    """81 of 263: Newcombe, Statistics in Medicine 17 (1998), table I, method 3."""
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


def test_nothing_asked_nothing_known():
    assert wilson(0, 0) == (0.0, 1.0)


def test_more_right_than_asked():
    with pytest.raises(ValueError, match=r"right must be in .*, got right=3, count=2"):
        wilson(3, 2)
