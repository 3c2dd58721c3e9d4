import numpy as np
import pytest

from ramgru.lab.show.data import Occupancy, over_seeds
from ramgru.lab.show.sentences import bytes_text, percent


def test_the_interval_over_seeds_is_students():
    # mean 0.5, standard deviation 0.1, t(2 degrees of freedom) = 4.303
    score = over_seeds([0.4, 0.5, 0.6], None, None)
    half = 4.303 * 0.1 / np.sqrt(3)
    assert score.mean == pytest.approx(0.5)
    assert (score.low, score.high) == pytest.approx((0.5 - half, 0.5 + half))


def test_the_interval_stays_within_the_scale():
    assert over_seeds([-0.3, -0.4], None, None, least=-1.0).low == pytest.approx(-0.985, abs=1e-3)
    score = over_seeds([0.9, 1.0], None, None)
    assert score.high == 1.0
    assert 0.0 <= score.low < 0.9


def test_the_scale_may_be_another():
    score = over_seeds([100.0, 120.0], None, None, most=150.0)
    assert (score.low, score.high) == (0.0, 150.0)
    half = 12.706 * 10
    assert over_seeds([100.0, 120.0], None, None, most=np.inf).high == pytest.approx(110 + half)


def test_one_seed_keeps_the_interval_over_examples():
    score = over_seeds([0.7], 0.6, 0.8)
    assert (score.mean, score.low, score.high) == (0.7, 0.6, 0.8)


def test_no_seed_is_an_error():
    with pytest.raises(ValueError, match="scores: expected at least one number"):
        over_seeds([], None, None)


def test_occupancy_counts_cells_and_writes(memory):
    assert memory.cells == [[0, 5], [15]]
    assert memory.writes == [[3, 1], [4]]
    assert memory.used == 3
    assert memory.share == 3 / 32
    assert memory.distinct_per_write == 3 / 8


def test_a_memory_never_written_has_no_cell_in_use():
    empty = Occupancy.of(np.zeros((1, 4), dtype=np.int64))
    assert (empty.used, empty.share, empty.distinct_per_write) == (0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (512, "512 B"), (2048, "2 KiB"), (3 * 2**20, "3 MiB"), (2**30, "1 GiB")],
)
def test_bytes_as_text(count, text):
    assert bytes_text(count) == text


@pytest.mark.parametrize(
    ("share", "text"),
    [
        *[(0.0, "0.0 %"), (0.00024, "0.024 %"), (0.0039, "0.39 %"), (0.941, "94.1 %")],
        *[(0.9998, "99.98 %"), (0.99999, "99.99 %"), (1.0, "100.0 %")],
    ],
)
def test_shares_as_text(share, text):
    assert percent(share) == text
