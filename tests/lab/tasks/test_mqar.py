"""mqar and mqar_update: zoology's bits, the fast draw's distribution, values written again."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, MQAR, Batch, MQARUpdate

from .solvers import digest


@pytest.mark.parametrize(
    ("task", "rows", "seed", "expected"),
    [
        (MQAR(vocab_size=64, length=32, pairs=4, exact=True), 100, 0, "f8e59f854b5dc7a6"),
        (MQAR(vocab_size=8192, length=256, pairs=64, exact=True), 20, 123, "12ddfabe18d0b541"),
    ],
    ids=["V=64 T=32", "V=8192 T=256"],
)
def test_exact_draw_has_the_bits_of_zoology(
    task: MQAR, rows: int, seed: int, expected: str
) -> None:
    assert digest(task.draw(rows, seed)) == expected


def test_exact_draw_leaves_numpys_global_generator_alone() -> None:
    before = np.random.get_state()[1]  # noqa: NPY002  # it is what the peer changes
    MQAR(exact=True).draw(2, 0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


def test_exact_blanks_are_those_of_torch() -> None:
    import torch

    blank = MQAR(vocab_size=64, pairs=4, length=32, exact=True).draw(10, 3)
    filled = MQAR(vocab_size=64, pairs=4, length=32, exact=True, random_blanks=True).draw(10, 3)
    expected = torch.randint(64, (10, 32), generator=torch.Generator().manual_seed(3)).numpy()
    assert np.array_equal(filled.inputs, np.where(blank.inputs == 0, expected, blank.inputs))
    assert np.array_equal(filled.labels, blank.labels)


def frequencies(batch: Batch, task: MQAR) -> np.ndarray:
    """Of keys, of values, of the places of questions, and of places by the question's number."""
    context = 2 * task.pairs
    keys = np.bincount(batch.inputs[:, 0:context:2].ravel(), minlength=task.vocab_size)
    values = np.bincount(batch.inputs[:, 1:context:2].ravel(), minlength=task.vocab_size)
    first_key = batch.inputs[:, :1]
    places = (batch.labels != IGNORE).sum(axis=0)
    first = (batch.inputs[:, context:] == first_key).sum(axis=0)
    return np.concatenate([keys, values, places, first])


def test_fast_draw_has_the_distribution_of_the_exact_one() -> None:
    task = MQAR(vocab_size=24, pairs=4, length=32)
    rows = 6000
    fast = frequencies(task.draw(rows, 0), task)
    exact = frequencies(task.resized(exact=True).draw(rows, 0), task)
    assert np.array_equal(fast == 0, exact == 0)
    used = fast > 0
    difference = (fast - exact)[used] / np.sqrt((fast + exact)[used])
    assert np.abs(difference).max() < 4  # a count differs by its own spread, no more
    assert 0.5 < np.mean(difference**2) < 1.5


def test_power_law_of_the_gaps() -> None:
    steps = 12
    task = MQAR(vocab_size=64, pairs=1, length=2 + 2 * steps, power=0.01)
    places = (task.draw(20_000, 0).labels != IGNORE).sum(axis=0)[2::2]
    weights = np.arange(1, steps + 1) ** -0.99
    expected = 20_000 * weights / weights.sum()
    assert np.abs((places - expected) / np.sqrt(expected)).max() < 4


def test_random_blanks_change_blanks_only() -> None:
    for exact in (False, True):
        blank = MQAR(exact=exact).draw(4, 0)
        filled = MQAR(exact=exact, random_blanks=True).draw(4, 0)
        shown = blank.inputs != 0
        assert np.array_equal(blank.inputs[shown], filled.inputs[shown])
        assert np.array_equal(blank.labels, filled.labels)
        assert len(np.unique(filled.inputs[~shown])) > 50


def test_all_keys_and_all_places_in_use() -> None:
    batch = MQAR(vocab_size=66, pairs=32, length=128).draw(3, 0)
    assert (np.sort(batch.inputs[:, 0:64:2], axis=1) == np.arange(1, 33)).all()
    assert (batch.labels[:, 64::2] != IGNORE).all()


def test_exact_seed_is_of_32_bits() -> None:
    with pytest.raises(ValueError, match="seed must be from 0 to 4294967295, got 4294967296"):
        MQAR(exact=True).draw(1, 2**32)
    MQAR().draw(1, 2**64)


def test_updates_are_new_values_of_known_keys() -> None:
    task = MQARUpdate(vocab_size=12, pairs=4, updates=3, length=40)
    batch = task.draw(500, 0)
    keys, values = batch.inputs[:, 0:14:2], batch.inputs[:, 1:14:2]
    for row in range(500):
        first = dict(zip(keys[row, :4].tolist(), values[row, :4].tolist(), strict=True))
        again = dict(zip(keys[row, 4:].tolist(), values[row, 4:].tolist(), strict=True))
        assert len(first) == 4
        assert len(again) == 3
        assert set(again) < set(first)
        assert all(first[key] != value for key, value in again.items())


def test_new_values_are_uniform_over_the_others() -> None:
    task = MQARUpdate(vocab_size=8, pairs=1, updates=1, length=8)
    batch = task.draw(12_000, 0)
    old, new = batch.inputs[:, 1] - 4, batch.inputs[:, 3] - 4
    table = np.bincount(4 * old + new, minlength=16).reshape(4, 4)
    assert (np.diag(table) == 0).all()
    others = table[~np.eye(4, dtype=bool)]
    assert np.abs(others - 1000).max() < 4 * 1000**0.5


def test_a_memory_of_first_values_answers_the_kept_keys_only() -> None:
    task = MQARUpdate(pairs=8, updates=3)
    batch = task.draw(50, 0)
    assert batch.kind is not None
    for row in range(50):
        first = dict(zip(batch.inputs[row, 0:16:2], batch.inputs[row, 1:16:2], strict=True))
        for step in np.flatnonzero(batch.labels[row] != IGNORE):
            right = first[batch.inputs[row, step]] == batch.labels[row, step]
            assert task.kinds[batch.kind[row, step]] == ("kept" if right else "updated")
    assert (batch.kind == task.kinds.index("updated")).sum() == 50 * 3


def test_no_updates_is_plain_recall() -> None:
    batch = MQARUpdate(updates=0).draw(3, 0)
    assert batch.kind is not None
    assert batch.kind.max() == 0
