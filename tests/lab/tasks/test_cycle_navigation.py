"""Walks, their empty step and its answer."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, CycleNavigation


def test_moves_then_one_empty_step_with_the_answer() -> None:
    batch = CycleNavigation(length=9).draw(200, 0)
    last = batch.lengths - 1
    assert (batch.inputs[np.arange(200), last] == 5).all()
    assert (batch.labels != IGNORE).sum() == 200
    for tokens, labels, n in zip(batch.inputs, batch.labels, last, strict=True):
        assert set(tokens[:n]) <= {0, 1, 4}
        assert labels[n] == ((tokens[:n] == 1).sum() - (tokens[:n] == 4).sum()) % 5


def test_moves_lengths_and_answers_are_uniform() -> None:
    batch = CycleNavigation(length=40).draw(6000, 0)
    moves = np.bincount(batch.inputs[batch.inputs < 5], minlength=5)
    assert moves[[2, 3]].tolist() == [0, 0]
    third = moves.sum() / 3
    assert np.abs(moves[[0, 1, 4]] - third).max() < 4 * third**0.5
    counts = np.bincount(batch.lengths - 1, minlength=41)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 150).max() < 4 * 150**0.5
    far = CycleNavigation(min_length=40, length=40).draw(5000, 0)
    answers = np.bincount(far.labels[far.labels != IGNORE], minlength=5)
    assert np.abs(answers - 1000).max() < 4 * 1000**0.5


def test_grid_holds_walks_of_one_length_up_to_500() -> None:
    for entry in CycleNavigation().grid():
        assert (entry.task.draw(3, 0).lengths == entry.axes["length"] + 1).all()
    assert entry.axes["length"] == 500


def test_errors() -> None:
    with pytest.raises(ValueError, match="min_length must be from 1 to 40, got 0"):
        CycleNavigation(min_length=0)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        CycleNavigation(length=0)
