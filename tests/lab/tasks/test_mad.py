"""MAD's tasks: its bits, the fast draw's distribution, questions, noise, places of tokens."""

import itertools

import numpy as np
import pytest

from ramgru.lab.tasks import (
    IGNORE,
    Compression,
    InContextRecall,
    NoisyRecall,
    SelectiveCopy,
    Task,
)

from .solvers import digest


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


def test_every_token_asks_for_the_next_token() -> None:
    task = InContextRecall(every_token=True)
    batch, asked = task.draw(20, 0), task.held_out().draw(20, 0)
    assert np.array_equal(batch.inputs, asked.inputs)
    assert np.array_equal(batch.labels[:, :-1], batch.inputs[:, 1:])
    assert np.array_equal(batch.labels[:, -1], asked.labels[:, -1])
    assert batch.distance is None
    assert task.held_out() == InContextRecall()
    assert all(point.task.held_out() == point.task for point in task.grid())


def test_the_plateau_is_the_score_of_guessing_among_known_values() -> None:
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


def test_both_forms_hold_the_same_tokens() -> None:
    task = Compression()
    causal, exact = task.draw(20, 5), task.resized(exact=True).draw(20, 5)
    assert np.array_equal(causal.inputs[:, :32], exact.inputs)
    assert np.array_equal(exact.inputs, exact.labels)


def test_tokens_of_compression_are_uniform() -> None:
    answers = Compression(vocab_size=6).draw(1000, 0).labels
    drawn = np.bincount(answers[answers != IGNORE])
    assert drawn.size == 5
    assert np.abs(drawn - drawn.mean()).max() < 4 * drawn.mean() ** 0.5
