"""How much noise there is, that a pair is left, and errors."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, InContextRecall, NoisyRecall


@pytest.mark.parametrize("exact", [False, True])
def test_noise_comes_two_by_two_at_its_rate(exact: bool) -> None:
    task = NoisyRecall(vocab_size=20, noise=8, fraction=0.3, length=42, exact=exact)
    batch = task.draw(1000, 0)
    first, second = batch.inputs[:, 0:40:2], batch.inputs[:, 1:40:2]
    noisy = first >= 12
    assert np.array_equal(noisy, second >= 12)
    assert (first[~noisy] < 6).all()
    assert (second[~noisy] >= 6).all()
    # One place of 21 is spared, wherever it is; the last pair is never noise.
    expected = 0.3 * 20 / 21 * noisy.size
    assert abs(noisy.sum() - expected) < 4 * expected**0.5
    assert (batch.inputs[:, -1] < 6).all()
    drawn = np.bincount(np.concatenate([first[noisy], second[noisy]]), minlength=20)[12:]
    assert np.abs(drawn - drawn.mean()).max() < 4 * drawn.mean() ** 0.5


@pytest.mark.parametrize("exact", [False, True])
def test_there_is_always_a_pair_to_ask_for(exact: bool) -> None:
    batch = NoisyRecall(fraction=0.99, length=4, exact=exact).draw(300, 0)
    assert (batch.inputs < 16).all()
    assert (batch.labels[:, -1] == batch.inputs[:, 1]).all()
    assert (batch.labels[:, :-1] == IGNORE).all()


def test_without_noise_it_is_in_context_recall() -> None:
    noisy = NoisyRecall(vocab_size=20, noise=4, fraction=0.0, exact=True).draw(10, 3)
    plain = InContextRecall(vocab_size=16, exact=True).draw(10, 3)
    assert np.array_equal(noisy.inputs, plain.inputs)
    assert np.array_equal(noisy.labels, plain.labels)


def test_sizes() -> None:
    task = NoisyRecall()
    assert task.chance == 1 / 8
    assert task.plateau == InContextRecall().plateau
    assert {type(point.task) for point in task.grid()} == {NoisyRecall}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"noise": 0}, "noise must be at least 1, got 0"),
        ({"noise": 29}, "vocab_size must be at least 33, got 32"),
        ({"fraction": 1.0}, r"fraction must be a share in \[0, 1\), got 1.0"),
    ],
)
def test_errors(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NoisyRecall(**options)  # type: ignore[arg-type]
