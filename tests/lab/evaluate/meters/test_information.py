"""The symmetric channel: its formula, and its matrix itself."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.lab.evaluate.meters.information import information, recalled_bits


@pytest.mark.parametrize("values", [2, 3, 4096, 2**20])
def test_always_right_gives_the_whole_value_and_chance_nothing(values):
    assert information(1.0, values) == pytest.approx(math.log2(values))
    assert information(1 / values, values) == pytest.approx(0.0, abs=1e-9)
    assert information(0.0, values) == 0.0


def test_of_two_values_it_is_the_binary_symmetric_channel():
    entropy = -0.9 * math.log2(0.9) - 0.1 * math.log2(0.1)
    assert information(0.9, 2) == pytest.approx(1 - entropy)


@given(
    values=st.integers(2, 50),
    accuracy=st.floats(0.0, 1.0),
)
def test_it_is_the_mutual_information_of_the_channel(values, accuracy):
    """From the channel's matrix itself, above chance."""
    if accuracy * values <= 1:
        assert information(accuracy, values) == 0.0
        return
    wrong = (1 - accuracy) / (values - 1)
    terms = [p * math.log2(p * values) for p in (accuracy, *[wrong] * (values - 1)) if p > 0]
    assert information(accuracy, values) == pytest.approx(math.fsum(terms), abs=1e-9)


def test_it_grows_with_accuracy():
    bits = [information(p / 100, 100) for p in range(1, 101)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


def test_bits_are_of_all_pairs():
    assert recalled_bits(16, 1.0, 4096) == pytest.approx(16 * 12)


@pytest.mark.parametrize(
    ("accuracy", "values", "message"),
    [(1.1, 4, "accuracy must be in"), (0.5, 1, "values must be at least 2, got 1")],
)
def test_what_is_no_channel_is_refused(accuracy, values, message):
    with pytest.raises(ValueError, match=message):
        information(accuracy, values)
