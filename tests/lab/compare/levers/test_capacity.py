import pytest

from ramgru.lab.compare.levers.capacity import Capacity, capacity


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
