"""Fuzzy recall: MAD's bits, and the fast draw's distribution."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, FuzzyRecall

from .solvers import digest, fuzzy_recall


@pytest.mark.parametrize(
    ("sizes", "expected"),
    [
        ({"min_key": 3}, "f959316850e9999f"),
        ({"min_key": 3, "vocab_size": 32, "length": 256}, "8f41877fa4ea7e1f"),
        ({"every_token": True}, "9836e25457965456"),
        ({"every_token": True, "vocab_size": 32, "length": 256}, "9ab2565dd55882a3"),
    ],
    ids=["test", "test, larger", "training", "training, larger"],
)
def test_exact_draw_has_the_bits_of_mad(sizes: dict[str, int], expected: str) -> None:
    assert digest(FuzzyRecall(exact=True, **sizes).draw(20, 12345)) == expected


def frequencies(task: FuzzyRecall, rows: int) -> tuple[np.ndarray, int]:
    """How often each token stands and is asked for at each step, in rows whose last question has
    an answer; the number of these rows."""
    batch = task.draw(rows, 0)
    known = fuzzy_recall(task, batch)[:, -1] >= 0
    inputs, labels = batch.inputs[known], batch.labels[known]
    each = [(steps == token).sum(axis=0) for steps in (inputs, labels) for token in range(7)]
    return np.concatenate([*each, (labels != IGNORE).sum(axis=0)]), int(known.sum())


@pytest.mark.parametrize("min_key", [1, 2])
def test_fast_draw_has_the_distribution_of_the_exact_one(min_key: int) -> None:
    task = FuzzyRecall(vocab_size=7, min_key=min_key, key=2, value=2, length=14)
    (fast, n), (exact, m) = frequencies(task, 6000), frequencies(task.resized(exact=True), 6000)
    assert n == 6000 > m
    assert np.array_equal(fast == 0, exact == 0)
    used = (fast > 0) & (fast < n)
    fast, exact = fast[used] / n, exact[used] / m
    share = (fast * n + exact * m) / (n + m)
    difference = (fast - exact) / np.sqrt(share * (1 - share) * (1 / n + 1 / m))
    assert np.abs(difference).max() < 4.5
    assert np.mean(difference**2) < 1.6


def test_training_and_test() -> None:
    task = FuzzyRecall(every_token=True)
    batch = task.draw(20, 0)
    assert np.array_equal(batch.labels[:, :-1], batch.inputs[:, 1:])
    assert batch.distance is None
    held_out = task.held_out()
    assert held_out == FuzzyRecall(min_key=3)
    assert all(point.task.held_out() == point.task for point in task.grid())
