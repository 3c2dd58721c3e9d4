import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ramgru.study.levers.capacity import Capacity, capacity, information, recalled_bits


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
    recall=st.floats(0.0, 1.0),
)
def test_it_is_the_mutual_information_of_the_channel(values, recall):
    """From the channel's matrix itself, above chance."""
    if recall * values <= 1:
        assert information(recall, values) == 0.0
        return
    wrong = (1 - recall) / (values - 1)
    terms = [p * math.log2(p * values) for p in (recall, *[wrong] * (values - 1)) if p > 0]
    assert information(recall, values) == pytest.approx(math.fsum(terms), abs=1e-9)


def test_it_grows_with_recall():
    bits = [information(p / 100, 100) for p in range(1, 101)]
    assert bits == sorted(bits)
    assert bits[0] < bits[-1]


def test_bits_are_of_all_pairs():
    assert recalled_bits(16, 1.0, 4096) == pytest.approx(16 * 12)


@pytest.mark.parametrize(
    ("recall", "values", "message"),
    [(1.1, 4, "recall must be in"), (0.5, 1, "values must be at least 2, got 1")],
)
def test_what_is_no_channel_is_refused(recall, values, message):
    with pytest.raises(ValueError, match=message):
        information(recall, values)


def test_capacity_lies_on_a_line_over_the_logarithm_of_the_size():
    # 0.95 is halfway from 1 to 0.9, and the geometric mean of 4 and 64 halfway between them.
    assert capacity([4, 64], [1.0, 0.9]).pairs == pytest.approx(16)
    assert capacity([4, 64], [0.95, 0.0]) == Capacity(4.0)


def test_capacity_is_where_recall_first_falls():
    found = capacity([1024, 4, 16, 256], [1.0, 1.0, 0.95, 0.5])
    assert found.pairs == pytest.approx(16)
    assert not found.at_least


def test_capacity_beyond_the_sizes_measured():
    assert capacity([4, 1024], [1.0, 0.95]) == Capacity(1024.0, at_least=True)
    assert capacity([4, 1024], [0.94, 1.0]) == Capacity(0.0)
    with pytest.raises(ValueError, match="sizes must hold at least one size"):
        capacity([], [])
