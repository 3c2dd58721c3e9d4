"""Reverse, duplicate, odds first: strings, their empty steps, and where each token came from."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Duplicate, OddsFirst, Reverse, Task

TASKS = (Reverse, Duplicate, OddsFirst)
every = pytest.mark.parametrize("task", TASKS, ids=[task.name for task in TASKS])


@every
def test_a_string_then_as_many_empty_steps_as_the_answer_is_long(task: type[Task]) -> None:
    times = 2 if task is Duplicate else 1
    batch = task(length=9).draw(300, 0)
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        n = length // (1 + times)
        assert 1 <= n <= 9
        assert set(tokens[:n]) <= {0, 1}
        assert (tokens[n:] == 2).all()
        assert (labels[:n] == IGNORE).all()
        answer = labels[n:length]
        assert sorted(answer) == sorted([*tokens[:n]] * times)


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


def test_grid_holds_strings_of_one_length_up_to_500() -> None:
    for entry in Duplicate().grid():
        assert (entry.task.draw(3, 0).lengths == 3 * entry.axes["length"]).all()
    assert entry.axes["length"] == 500


def test_errors() -> None:
    with pytest.raises(ValueError, match="min_length must be from 1 to 40, got 0"):
        Reverse(min_length=0)
    with pytest.raises(ValueError, match="length must be at least 1, got 0"):
        OddsFirst(length=0)
