"""Where the tokens stand, that they are uniform, sizes and errors."""

import itertools

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, SelectiveCopy


def test_rows_are_tokens_among_blanks_then_marker_then_blanks() -> None:
    batch = SelectiveCopy(vocab_size=10, tokens=4, length=20).draw(200, 0)
    for tokens, labels in zip(batch.inputs, batch.labels, strict=True):
        assert np.flatnonzero(tokens == 9).tolist() == [15]
        assert (tokens[16:] == 8).all()
        assert tokens[:15][tokens[:15] != 8].tolist() == labels[16:].tolist()
        assert (labels[:16] == IGNORE).all()


def test_every_set_of_places_is_as_likely() -> None:
    rows = 20_000
    batch = SelectiveCopy(vocab_size=5, tokens=2, length=8).draw(rows, 0)
    shown = batch.inputs[:, :5] != 3
    sets = [tuple(np.flatnonzero(row)) for row in shown]
    expected = rows / 10
    for places in itertools.combinations(range(5), 2):
        assert abs(sets.count(places) - expected) < 4 * expected**0.5
    tokens = np.bincount(batch.labels[:, 6:].ravel())
    assert tokens.size == 3
    assert np.abs(tokens - 2 * rows / 3).max() < 4 * (2 * rows / 3) ** 0.5


def test_no_blanks_is_a_plain_copy() -> None:
    batch = SelectiveCopy(tokens=5, length=11).draw(3, 0)
    assert np.array_equal(batch.inputs[:, :5], batch.labels[:, 6:])
    assert batch.distance is not None
    assert (batch.distance[:, 6:] == 6).all()


def test_sizes() -> None:
    task = SelectiveCopy()
    assert task.chance == 1 / 14
    assert task.plateau == 1 / 16 + 15 / 16 / 14
    assert SelectiveCopy(tokens=1).plateau is None
    assert [p.axes["length"] for p in task.grid()] == [64, 128, 256, 512, 1024, 2048, 4096]
    assert task.resized(tokens=96).grid()[0].axes == {"length": 256}
    assert [(t.tokens, t.length) for t in task.curriculum()] == [
        (2, 32),
        (4, 64),
        (8, 128),
        (16, 256),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 3}, "vocab_size must be at least 4, got 3"),
        ({"tokens": 0}, "tokens must be at least 1, got 0"),
        ({"length": 32}, "length must be at least 33 for tokens=16, got 32"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        SelectiveCopy(**options)
