"""What is written a second time, and that it differs."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, MQARUpdate


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


def test_sizes_scale_together() -> None:
    axes = [tuple(entry.axes.values()) for entry in MQARUpdate().grid()]
    assert axes == [
        (4, 2, 64),
        (8, 4, 64),
        (16, 8, 80),
        (64, 32, 320),
        (256, 128, 1280),
        (1024, 512, 5120),
    ]
    assert [(t.pairs, t.updates, t.length) for t in MQARUpdate().curriculum()] == [
        (2, 1, 16),
        (4, 2, 32),
        (8, 4, 64),
    ]


def test_no_updates_is_plain_recall() -> None:
    batch = MQARUpdate(updates=0).draw(3, 0)
    assert batch.kind is not None
    assert batch.kind.max() == 0


def test_errors() -> None:
    with pytest.raises(ValueError, match="updates must be from 0 to 8, got 9"):
        MQARUpdate(updates=9)
    with pytest.raises(ValueError, match="at least 66 for pairs=13 and updates=7, got 64"):
        MQARUpdate(pairs=13, updates=7)
