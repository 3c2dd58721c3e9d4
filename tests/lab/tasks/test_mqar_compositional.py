"""mqar_compositional: phrases that share their tokens, values, and places of questions."""

import itertools

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Batch, MQARCompositional
from ramgru.lab.tasks.mqar_compositional import phrases


def keys_of(batch: Batch, row: int, pairs: int, key: int) -> np.ndarray:
    """(pairs, key) the phrases of a row."""
    return batch.inputs[row, : pairs * (key + 1)].reshape(pairs, key + 1)[:, :key]


@pytest.mark.parametrize(
    ("key", "pairs"),
    [*itertools.product([2, 3, 4], [4, 6, 7, 10, 16, 17]), (3, 5), (4, 5), (8, 4)],
)
def test_every_token_of_a_key_stands_in_another_key_too(key: int, pairs: int) -> None:
    length = 2 * pairs * (key + 1)
    task = MQARCompositional(min_key=key, key=key, pairs=pairs, length=length)
    batch = task.draw(100, 0)
    for row in range(100):
        keys = keys_of(batch, row, pairs, key)
        assert len({*map(tuple, keys.tolist())}) == pairs
        for place in range(key):
            _, shared = np.unique(keys[:, place], return_counts=True)
            assert shared.min() >= 2


@pytest.mark.parametrize("place", [0, 1])
def test_one_token_of_a_key_does_not_find_its_value(place: int) -> None:
    """A memory that goes by one token of two is right about once in four times."""
    task = MQARCompositional(key=2)
    batch = task.draw(200, 0)
    right = 0
    for row in range(200):
        keys = keys_of(batch, row, 16, 2)
        last = {key[place]: batch.inputs[row, 3 * i + 2] for i, key in enumerate(keys)}
        for step in np.flatnonzero(batch.labels[row] != IGNORE):
            right += last[batch.inputs[row, step - 1 + place]] == batch.labels[row, step]
    assert abs(right / (200 * 16) - 1 / 4) < 0.01


def test_phrases_are_uniform_over_symbols_and_places() -> None:
    drawn = phrases(np.random.default_rng(0), 4000, 8, 3, 10)
    for place in range(3):
        counts = np.bincount(drawn[..., place].ravel(), minlength=10)
        # two symbols a row, each in about half of its phrases
        assert np.abs(counts / 3200 - 1).max() < 0.15
    assert all(len(np.unique(row)) == 2 for row in drawn)


def test_one_number_of_tokens_for_a_row_uniform_between_the_two() -> None:
    task = MQARCompositional(min_key=2, key=4)
    batch = task.draw(3000, 0)
    size = np.argmax(batch.inputs > task.alphabet, axis=1)  # tokens before the first value
    counts = np.bincount(size, minlength=5)
    assert counts[:2].tolist() == [0, 0]
    assert np.abs(counts[2:] - 1000).max() < 4 * 1000**0.5
    values = batch.inputs > task.alphabet
    for row in range(300):
        expected = np.arange(1, 17) * (size[row] + 1) - 1
        assert np.array_equal(np.flatnonzero(values[row]), expected)


def test_a_blank_stands_between_questions() -> None:
    task = MQARCompositional(pairs=8, length=80)
    batch = task.draw(100, 0)
    row, step = np.nonzero(batch.labels[:, :-1] != IGNORE)
    assert (batch.inputs[row, step + 1] == 0).all()
    assert ((batch.labels != IGNORE).sum(axis=1) == 8).all()


def test_values_are_different_and_uniform() -> None:
    batch = MQARCompositional(vocab_size=14, alphabet=5, key=2, pairs=4, length=24).draw(4000, 0)
    values = batch.inputs[:, 2:12:3]
    assert all(len(set(row)) == 4 for row in values.tolist())
    counts = np.bincount(values.ravel(), minlength=14)
    assert counts[:6].sum() == 0
    assert np.abs(counts[6:] - 2000).max() < 4 * 2000**0.5
