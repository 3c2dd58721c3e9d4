"""Draws without replacement for a whole batch at once, with the distributions of
`numpy.random.choice(replace=False)` and none of its cost in the size of the population."""

from __future__ import annotations

import numpy as np


def distinct(rng: np.random.Generator, rows: int, count: int, population: int) -> np.ndarray:
    """(rows, count) int64: in each row an ordered sample of `count` different of `population`.

    Where few are drawn, every repeated number is drawn again until none is left. That is uniform:
    no step prefers one number to another, so all ordered samples are equally likely.
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
    """(rows,) int64 in random order: each number below `population` once before any comes again."""
    rounds = [rng.permutation(population) for _ in range(-(-rows // population))]
    return np.concatenate(rounds)[:rows]


def weighted(rng: np.random.Generator, rows: int, count: int, weights: np.ndarray) -> np.ndarray:
    """(rows, count) int64: successive draws without replacement, p proportional to `weights`.

    The smallest of independent exponential times with these rates come in exactly that order
    (the "exponential clocks" form of successive sampling, the same law as Gumbel top-k).
    """
    times = rng.exponential(size=(rows, weights.size)) / weights
    return np.argsort(times, axis=1)[:, :count]
