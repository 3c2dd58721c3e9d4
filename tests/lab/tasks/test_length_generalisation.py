"""Strings, their empty steps and answers, and the steps that answers came from."""

import numpy as np
import pytest

from ramgru.lab.tasks import (
    IGNORE,
    CycleNavigation,
    Duplicate,
    MissingDuplicate,
    OddsFirst,
    Parity,
    Reverse,
    Task,
)


def test_parity_is_uniform() -> None:
    batch = Parity(length=5).draw(5000, 0)
    answers = batch.labels[batch.labels != IGNORE]
    assert abs(answers.mean() - 0.5) < 4 * 0.5 / 5000**0.5
    counts = np.bincount(batch.lengths - 1, minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5


def test_walks_are_uniform() -> None:
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


TASKS = (Reverse, Duplicate, OddsFirst)

every = pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])


@every
def test_each_token_is_answered_once_or_as_often_as_it_is_duplicated(task: type[Task]) -> None:
    n = 11
    batch = task(min_length=n, length=n).draw(1, 0)
    assert batch.distance is not None
    (asked,) = np.nonzero(batch.distance[0] >= 0)
    sources = asked - batch.distance[0, asked]
    expected = {
        "reverse": [*range(n)][::-1],
        "duplicate": [*range(n)] * 2,
        "odds_first": [*range(0, n, 2), *range(1, n, 2)],
    }
    assert sources.tolist() == expected[task.name]


@every
def test_tokens_and_lengths_are_uniform(task: type[Task]) -> None:
    batch = task(length=40).draw(4000, 0)
    bits = np.bincount(batch.inputs[batch.inputs < 2])
    assert abs(bits[0] - bits[1]) < 4 * bits.sum() ** 0.5
    counts = np.bincount((batch.inputs < 2).sum(axis=1), minlength=41)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 100).max() < 4 * 100**0.5


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
