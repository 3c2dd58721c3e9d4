"""The vectorised draws against closed forms, and against numpy's own choice."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ramgru.lab.tasks.sampling import distinct, each_once, weighted


def counts(sample: np.ndarray, population: int) -> np.ndarray:
    """How often each ordered sample of two different numbers came, in a fixed order."""
    outcomes = list(itertools.permutations(range(population), 2))
    found = sample[:, 0] * population + sample[:, 1]
    table = np.bincount(found, minlength=population**2)
    assert table.sum() == sum(table[i * population + j] for i, j in outcomes)
    return np.array([table[i * population + j] for i, j in outcomes])


def surprise(observed: np.ndarray, expected: np.ndarray) -> float:
    """Pearson's chi-square in standard deviations above its mean."""
    freedom = observed.size - 1
    statistic = float(((observed - expected) ** 2 / expected).sum())
    return (statistic - freedom) / (2 * freedom) ** 0.5


# 2 of 7 goes through a full permutation, 2 of 9 through drawing again what came twice
@pytest.mark.parametrize("population", [7, 9])
def test_distinct_is_uniform(population: int) -> None:
    rows = 40_000
    observed = counts(distinct(np.random.default_rng(0), rows, 2, population), population)
    assert abs(surprise(observed, np.full(observed.size, rows / observed.size))) < 4


def test_distinct_is_uniform_over_members_of_larger_samples() -> None:
    sample = distinct(np.random.default_rng(0), 20_000, 10, 40)
    for place in (0, 9):
        observed = np.bincount(sample[:, place], minlength=40)
        assert abs(surprise(observed, np.full(40, 500.0))) < 4


def test_weighted_is_successive_sampling() -> None:
    weights = np.array([8.0, 4.0, 2.0, 1.0, 0.5])
    p = weights / weights.sum()
    rows = 40_000
    expected = np.array([p[i] * p[j] / (1 - p[i]) for i, j in itertools.permutations(range(5), 2)])
    observed = counts(weighted(np.random.default_rng(0), rows, 2, weights), 5)
    assert abs(surprise(observed, rows * expected)) < 4


def test_weighted_has_the_distribution_of_numpy_choice() -> None:
    p = np.array([0.4, 0.3, 0.2, 0.1])
    rng = np.random.default_rng(1)
    rows = 20_000
    peer = np.stack([rng.choice(4, 2, replace=False, p=p, shuffle=False) for _ in range(rows)])
    a, b = counts(weighted(rng, rows, 2, p), 4), counts(peer, 4)
    freedom = a.size - 1
    statistic = float(((a - b) ** 2 / (a + b)).sum())  # two samples of one size
    assert abs(statistic - freedom) / (2 * freedom) ** 0.5 < 4


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 4), st.integers(0, 30), st.integers(0, 100), st.integers(0, 2**32))
def test_every_row_is_a_sample(rows: int, count: int, spare: int, seed: int) -> None:
    population = count + spare + 1
    for sample in (
        distinct(np.random.default_rng(seed), rows, count, population),
        weighted(np.random.default_rng(seed), rows, count, np.arange(1.0, population + 1)),
    ):
        assert sample.shape == (rows, count)
        assert all(len(set(row)) == count for row in sample.tolist())
        assert count == 0 or 0 <= sample.min() <= sample.max() < population


def test_each_once_before_any_comes_again() -> None:
    numbers = each_once(np.random.default_rng(0), 25, 10)
    assert sorted(numbers[:10]) == sorted(numbers[10:20]) == [*range(10)]
    assert len({*numbers[20:].tolist()}) == 5
    assert numbers[:10].tolist() != numbers[10:20].tolist()
    few = each_once(np.random.default_rng(0), 3, 10)
    assert len({*few.tolist()}) == 3
