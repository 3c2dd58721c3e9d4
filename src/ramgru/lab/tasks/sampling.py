"""Draws without replacement for a whole batch at once, with the distributions of
`numpy.random.choice(replace=False)` but a cost independent of the population; repeats in a row."""

from __future__ import annotations

import numpy as np


def distinct(rng: np.random.Generator, rows: int, count: int, population: int) -> np.ndarray:
    """(rows, count) int64: in each row an ordered sample of `count` different of `population`.

    If the sample is small, every repeated number is drawn again until none is left. That is
    uniform: no step prefers one number to another, so all ordered samples are equally likely.
    """
    if 4 * count > population:
        return np.argsort(rng.random((rows, population)), axis=1)[:, :count]
    sample = rng.integers(population, size=(rows, count))
    while True:
        order = np.argsort(sample, axis=1, kind="stable")  # equal numbers side by side
        ranked = np.take_along_axis(sample, order, axis=1)
        row, rank = np.nonzero(ranked[:, 1:] == ranked[:, :-1])
        if row.size == 0:
            return sample
        sample[row, order[row, rank + 1]] = rng.integers(population, size=row.size)


def each_once(rng: np.random.Generator, rows: int, population: int) -> np.ndarray:
    """(rows,) int64 in random order: each number below `population` once before any repeats."""
    rounds = [rng.permutation(population) for _ in range(-(-rows // population))]
    return np.concatenate(rounds)[:rows]


def weighted(rng: np.random.Generator, rows: int, count: int, weights: np.ndarray) -> np.ndarray:
    """(rows, count) int64: successive draws without replacement, p proportional to `weights`.

    Independent exponential times with these rates, sorted, have exactly this order (the
    "exponential clocks" form of successive sampling, the same law as Gumbel top-k).
    """
    times = rng.exponential(size=(rows, weights.size)) / weights
    return np.argsort(times, axis=1)[:, :count]


def previous(numbers: np.ndarray) -> np.ndarray:
    """(B, P) int64: for each number of (B, P) the last place before it with the same number, or -1.

    >>> previous(np.array([[5, 3, 5, 5]]))
    array([[-1, -1,  0,  2]])
    """
    order = np.argsort(numbers, axis=1, kind="stable")  # equal numbers side by side, early first
    ranked = np.take_along_axis(numbers, order, axis=1)
    places = np.full(numbers.shape, -1, dtype=np.int64)
    places[:, 1:] = np.where(ranked[:, 1:] == ranked[:, :-1], order[:, :-1], -1)
    found = np.empty_like(places)
    np.put_along_axis(found, order, places, axis=1)
    return found


def unique(numbers: np.ndarray) -> np.ndarray:
    """(B, P) bool: the numbers of (B, P) that occur only once in their row.

    >>> unique(np.array([[5, 3, 5, 5]]))
    array([[False,  True, False, False]])
    """
    return (previous(numbers) < 0) & (previous(numbers[:, ::-1])[:, ::-1] < 0)
