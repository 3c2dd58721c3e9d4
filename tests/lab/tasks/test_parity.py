"""Strings, their empty step and its answer."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Parity


def test_answer_stands_at_the_empty_step() -> None:
    batch = Parity(length=9).draw(200, 0)
    last = batch.lengths - 1
    rows = np.arange(200)
    assert (batch.inputs[rows, last] == 2).all()
    ones = np.array([(tokens[:n] == 1).sum() for tokens, n in zip(batch.inputs, last, strict=True)])
    assert np.array_equal(batch.labels[rows, last], ones % 2)
    assert (batch.labels != IGNORE).sum() == 200


def test_answers_and_lengths_are_uniform() -> None:
    batch = Parity(length=5).draw(5000, 0)
    answers = batch.labels[batch.labels != IGNORE]
    assert abs(answers.mean() - 0.5) < 4 * 0.5 / 5000**0.5
    counts = np.bincount(batch.lengths - 1, minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5


def test_grid_holds_strings_of_one_length_up_to_500() -> None:
    for entry in Parity().grid():
        lengths = entry.task.draw(3, 0).lengths
        assert (lengths == entry.axes["length"] + 1).all()
    assert entry.axes["length"] == 500


def test_errors() -> None:
    with pytest.raises(ValueError, match="min_length must be from 1 to 40, got 0"):
        Parity(min_length=0)
    with pytest.raises(TypeError, match=r"length must be an integer, got 4\.0"):
        Parity(length=4.0)  # type: ignore[arg-type]
