"""Two equal strings, the token that is hidden in them, and its twin."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, MissingDuplicate


def test_both_strings_are_equal_but_for_the_hidden_token() -> None:
    batch = MissingDuplicate(length=12).draw(300, 0)
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        n = length - 1
        half = n // 2
        first, second = tokens[:half], tokens[half : 2 * half]
        assert sorted({*tokens[:n]} & {2}) == [2]
        assert (first != second).sum() == 1
        assert (tokens[2 * half : n] == 3).all()
        assert (tokens[n:] == 4).all()
        (hidden,) = np.nonzero(first != second)[0]
        assert labels[n] == {int(first[hidden]), int(second[hidden])}.difference({2}).pop()
        assert (labels != IGNORE).sum() == 1


def test_every_place_is_hidden_equally_often_and_tells_nothing() -> None:
    batch = MissingDuplicate(min_length=10, length=10).draw(5000, 0)
    hidden = np.bincount(np.nonzero(batch.inputs == 2)[1], minlength=10)
    assert np.abs(hidden[:10] - 500).max() < 4 * 500**0.5
    answers = batch.labels[batch.labels != IGNORE]
    assert abs(int(answers.sum()) - 2500) < 4 * 1250**0.5


def test_grid_holds_one_length_up_to_500() -> None:
    for entry in MissingDuplicate().grid():
        assert (entry.task.draw(3, 0).lengths == entry.axes["length"] + 1).all()
    assert entry.axes["length"] == 500


def test_errors() -> None:
    with pytest.raises(ValueError, match="min_length must be from 2 to 40, got 1"):
        MissingDuplicate(min_length=1)
