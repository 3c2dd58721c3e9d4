"""Strings of the form $s|s., and what counts as a whole answer."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, StringCopy, exact_answers, letters


def test_rows_are_strings_shown_twice() -> None:
    task = StringCopy()
    batch = task.draw(300, 0)
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        row = letters.text(tokens)
        string = row[1 : row.index("|")]
        assert 5 <= len(string) <= 20
        assert string.isalpha()
        assert row == f"${string}|{string}.".ljust(len(row), "*")
        assert length == 2 * len(string) + 3
        assert letters.text(labels[labels != IGNORE]) == string
        asked = np.flatnonzero(labels != IGNORE)
        assert asked.tolist() == [*range(len(string) + 1, 2 * len(string) + 1)]


def test_letters_and_lengths_are_uniform() -> None:
    batch = StringCopy(min_length=2, length=6).draw(5000, 0)
    counts = np.bincount((batch.lengths - 3) // 2, minlength=7)
    assert counts[:2].tolist() == [0, 0]
    assert np.abs(counts[2:] - 1000).max() < 4 * 1000**0.5
    drawn = np.bincount(batch.labels[batch.labels != IGNORE], minlength=26)
    expected = drawn.sum() / 26
    assert np.abs(drawn - expected).max() < 4 * expected**0.5


def test_a_string_is_right_when_all_its_letters_are() -> None:
    batch = StringCopy(min_length=5, length=5).draw(4, 0)
    predicted = batch.labels.copy()
    predicted[1, 6] = (predicted[1, 6] + 1) % 26  # the first letter of one string
    predicted[2, 10] = (predicted[2, 10] + 1) % 26  # the last of another
    found = exact_answers(batch, predicted)
    assert found.right.tolist() == [True, False, False, True]
    assert found.count.tolist() == [5, 5, 5, 5]


def test_grid_reaches_a_thousand_letters() -> None:
    grid = StringCopy().grid()
    assert [entry.axes["length"] for entry in grid] == [5, 10, 20, 40, 80, 200, 1000]
    assert (grid[-1].task.draw(2, 0).lengths == 2003).all()
    assert [task.length for task in StringCopy().curriculum()] == [5, 10, 20]


def test_errors() -> None:
    with pytest.raises(ValueError, match="min_length must be from 1 to 20, got 21"):
        StringCopy(min_length=21)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        StringCopy(length=0)
