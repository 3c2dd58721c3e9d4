"""The causal form and MAD's; its digest stands beside those of the recall tasks."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Compression


def test_after_the_marker_nothing_is_shown() -> None:
    batch = Compression(vocab_size=8, length=6).draw(100, 0)
    assert batch.inputs.shape == (100, 11)
    assert (batch.inputs[:, :5] < 7).all()
    assert (batch.inputs[:, 5:] == 7).all()
    assert np.array_equal(batch.labels[:, 6:], batch.inputs[:, :5])
    assert (batch.labels[:, :6] == IGNORE).all()


def test_both_forms_hold_the_same_tokens() -> None:
    task = Compression()
    causal, exact = task.draw(20, 5), task.resized(exact=True).draw(20, 5)
    assert np.array_equal(causal.inputs[:, :32], exact.inputs)
    assert np.array_equal(exact.inputs, exact.labels)


def test_tokens_are_uniform() -> None:
    answers = Compression(vocab_size=6).draw(1000, 0).labels
    drawn = np.bincount(answers[answers != IGNORE])
    assert drawn.size == 5
    assert np.abs(drawn - drawn.mean()).max() < 4 * drawn.mean() ** 0.5


def test_sizes() -> None:
    task = Compression()
    assert task.chance == 1 / 15
    assert task.plateau == 1 / 31 + 30 / 31 / 15
    assert Compression(length=2).plateau is None
    assert [p.axes["length"] for p in task.grid()] == [8, 16, 32, 64, 128, 256, 1024]
    assert [t.length for t in task.curriculum()] == [4, 8, 16, 32]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 2}, "vocab_size must be at least 3, got 2"),
        ({"length": 1}, "length must be at least 2, got 1"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Compression(**options)  # type: ignore[arg-type]
