"""Priorities, and the order of the answers."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, PrioritySort


def test_answers_are_the_vectors_of_highest_priority() -> None:
    batch = PrioritySort(bits=4, vectors=6, top=4).draw(100, 0)
    assert batch.inputs.shape == (100, 12, 7)
    for steps, labels in zip(batch.inputs, batch.labels, strict=True):
        assert steps[0].tolist() == [0, 0, 0, 0, 0, 1, 0]
        assert steps[7].tolist() == [0, 0, 0, 0, 0, 0, 1]
        assert (steps[8:] == 0).all()
        order = np.argsort(steps[1:7, 4])[::-1]
        assert np.array_equal(labels[8:], steps[1 + order[:4], :4])
        assert (labels[:8] == IGNORE).all()


def test_priorities_are_uniform_and_never_equal() -> None:
    batch = PrioritySort(vectors=5000, top=1).draw(20, 0)
    priority = batch.inputs[:, 1:5001, 8]
    assert all(np.unique(row).size == 5000 for row in priority)
    assert priority.min() >= -1
    assert priority.max() <= 1
    counts = np.histogram(priority, bins=10, range=(-1, 1))[0]
    assert np.abs(counts - 10_000).max() < 4 * 10_000**0.5


def test_sizes() -> None:
    task = PrioritySort(bits=6)
    assert (task.vocab_size, task.features, task.outputs, task.chance) == (0, 9, 6, 0.5)
    assert [tuple(p.axes.values()) for p in task.grid()] == [
        (5, 4),
        (10, 8),
        (20, 16),
        (40, 32),
        (80, 64),
        (200, 160),
        (1000, 800),
    ]
    assert [(t.vectors, t.top) for t in task.curriculum()] == [
        (2, 2),
        (4, 4),
        (8, 7),
        (16, 13),
        (20, 16),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits must be at least 1, got 0"),
        ({"vectors": 0}, "vectors must be from 1 to 16777216, got 0"),
        ({"top": 21}, "top must be from 1 to 20, got 21"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PrioritySort(**options)
