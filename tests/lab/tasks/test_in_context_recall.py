"""MAD's bits, the fast draw's distribution, what is asked, and errors."""

import hashlib

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Batch, Compression, InContextRecall, NoisyRecall, Task


def digest(batch: Batch) -> str:
    content = batch.inputs.astype("<i8").tobytes() + batch.labels.astype("<i8").tobytes()
    return hashlib.sha256(content).hexdigest()[:16]


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (InContextRecall(vocab_size=16, length=128, exact=True), "21763aab7e561493"),
        (
            NoisyRecall(vocab_size=32, noise=16, fraction=0.2, length=128, exact=True),
            "0731929248a7b850",
        ),
        (Compression(vocab_size=16, length=32, exact=True), "f11ea26740bed048"),
    ],
    ids=["in_context_recall", "noisy_recall", "compression"],
)
def test_exact_draw_has_the_bits_of_mad(task: Task, expected: str) -> None:
    assert digest(task.draw(20, 12345)) == expected


def frequencies(task: InContextRecall, rows: int) -> np.ndarray:
    """How often each token stands at each step, is a key's answer, and a question is asked."""
    batch = task.draw(rows, 0)
    at = [(batch.inputs == token).sum(axis=0) for token in range(task.vocab_size)]
    answers = np.bincount(batch.labels[batch.labels != IGNORE], minlength=task.vocab_size)
    return np.concatenate([*at, answers, (batch.labels != IGNORE).sum(axis=0)])


@pytest.mark.parametrize(
    "task",
    [
        InContextRecall(vocab_size=7, length=10),
        NoisyRecall(vocab_size=9, noise=3, fraction=0.4, length=12),
        NoisyRecall(vocab_size=9, noise=2, fraction=0.9, length=6),
    ],
    ids=["in_context_recall", "noisy_recall", "noisy_recall, few pairs"],
)
def test_fast_draw_has_the_distribution_of_the_exact_one(task: InContextRecall) -> None:
    rows = 8000
    fast = frequencies(task, rows)
    exact = frequencies(task.resized(exact=True), rows)
    assert np.array_equal(fast == 0, exact == 0)
    used = (fast > 0) & (fast < rows)
    difference = (fast - exact)[used] / np.sqrt((fast + exact)[used])
    assert np.abs(difference).max() < 4
    assert np.mean(difference**2) < 1.5


@pytest.mark.parametrize("exact", [False, True])
def test_every_key_seen_before_is_asked_for_and_no_other(exact: bool) -> None:
    batch = InContextRecall(length=40, exact=exact).draw(50, 0)
    for tokens, labels in zip(batch.inputs, batch.labels, strict=True):
        keys = tokens[::2].tolist()
        asked = [key in keys[:place] for place, key in enumerate(keys)]
        assert np.array_equal(labels[::2] != IGNORE, asked)
        assert (labels[1::2] == IGNORE).all()
        assert asked[-1]


def test_every_token_is_what_comes_next() -> None:
    task = InContextRecall(every_token=True)
    batch, asked = task.draw(20, 0), task.held_out().draw(20, 0)
    assert np.array_equal(batch.inputs, asked.inputs)
    assert np.array_equal(batch.labels[:, :-1], batch.inputs[:, 1:])
    assert np.array_equal(batch.labels[:, -1], asked.labels[:, -1])
    assert batch.distance is None
    assert task.held_out() == InContextRecall()
    assert all(point.task.held_out() == point.task for point in task.grid())


def test_the_plateau_is_what_guessing_among_known_keys_reaches() -> None:
    task = InContextRecall(vocab_size=32, length=1024)
    batch = task.draw(20, 0)
    rng = np.random.default_rng(1)
    right = total = 0
    for tokens, labels in zip(batch.inputs, batch.labels, strict=True):
        known = dict(zip(tokens[:512:2].tolist(), tokens[1:512:2].tolist(), strict=True))
        answers = labels[512:][labels[512:] != IGNORE]
        right += (rng.choice(list(known.values()), answers.size) == answers).sum()
        total += answers.size
    assert task.plateau is not None
    assert abs(right / total - task.plateau) < 4 * (task.plateau / total) ** 0.5 + 0.02
    assert InContextRecall().plateau == 1 / 8 + 7 / 8 / 8
    assert InContextRecall(vocab_size=64, length=4).plateau is None  # one pair is known for sure


def test_sizes() -> None:
    lengths = [point.axes["length"] for point in InContextRecall(length=100).grid()]
    assert lengths == [32, 64, 100, 128, 256, 512, 1024, 4096]
    assert [t.length for t in InContextRecall().curriculum()] == [16, 32, 64, 128]
    assert InContextRecall(vocab_size=17).chance == 1 / 9


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"vocab_size": 3}, "vocab_size must be at least 4, got 3"),
        ({"length": 2}, "length must be at least 4, got 2"),
        ({"length": 5}, "length must be even, got 5"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InContextRecall(**options)  # type: ignore[arg-type]
