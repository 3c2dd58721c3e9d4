"""Whole answers of tokens and of bits."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Batch, exact_answers

X = IGNORE


def test_tokens() -> None:
    labels = np.array([[X, 4, 5, X, 6], [7, X, X, 8, 8]])
    predicted = np.array([[0, 4, 9, 0, 6], [7, 1, 1, 8, 8]])
    distance = np.array([[-1, 3, 3, -1, 9], [1, -1, -1, 2, 2]])
    kind = np.array([[-1, 0, 0, -1, 1], [1, -1, -1, 0, 0]])
    batch = Batch(labels, labels, np.array([5, 5]), distance, kind)
    found = exact_answers(batch, predicted)
    assert found.right.tolist() == [False, True, True, True]
    assert found.row.tolist() == [0, 0, 1, 1]
    assert found.start.tolist() == [1, 4, 0, 3]
    assert found.count.tolist() == [2, 1, 1, 2]
    assert found.distance is not None
    assert found.distance.tolist() == [3, 9, 1, 2]
    assert found.kind is not None
    assert found.kind.tolist() == [0, 1, 1, 0]


def test_an_answer_does_not_run_on_into_the_next_row() -> None:
    labels = np.array([[X, 1], [1, X]])
    found = exact_answers(Batch(labels, labels, np.array([2, 2])), np.array([[0, 1], [0, 0]]))
    assert found.right.tolist() == [True, False]
    assert found.distance is None
    assert found.kind is None


def test_bits() -> None:
    labels = np.array([[[X, X], [0, 1], [1, 1]]])
    batch = Batch(np.zeros((1, 3, 2), np.float32), labels, np.array([3]))
    assert exact_answers(batch, np.array([[[0, 0], [0, 1], [1, 1]]])).right.tolist() == [True]
    assert exact_answers(batch, np.array([[[0, 0], [0, 1], [1, 0]]])).right.tolist() == [False]


def test_nothing_asked() -> None:
    labels = np.full((2, 3), X)
    assert exact_answers(Batch(labels, labels, np.array([3, 3])), labels).right.shape == (0,)


def test_shape() -> None:
    labels = np.full((2, 3), X)
    with pytest.raises(ValueError, match=r"labels' shape \(2, 3\), got \(2, 4\)"):
        exact_answers(Batch(labels, labels, np.array([3, 3])), np.zeros((2, 4)))
