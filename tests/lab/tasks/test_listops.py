"""Expressions: their form, their law, their values."""

import statistics

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, ListOps
from ramgru.lab.tasks.listops import grow, law_of_lengths, text


def parse(words: list[str], depth: int = 1) -> tuple[int, int, int]:
    """Takes one expression from the front of words. -> value, depth, most arguments"""
    word = words.pop(0)
    if not word.startswith("["):
        return int(word), depth, 0
    digits, depths, most = [], [], [0]
    while words[0] != "]":
        digit, deep, arguments = parse(words, depth + 1)
        digits.append(digit)
        depths.append(deep)
        most.append(arguments)
    words.pop(0)
    value = {
        "[MAX": max(digits),
        "[MIN": min(digits),
        "[MED": int(statistics.median(digits)),
        "[SM": sum(digits) % 10,
    }[word]
    return value, max(depths), max(len(digits), *most)


@pytest.mark.parametrize(("arguments", "depth"), [(2, 2), (3, 5), (10, 10)])
def test_expressions_have_the_form_and_the_value(arguments: int, depth: int) -> None:
    batch = ListOps(min_length=4, length=60, arguments=arguments, depth=depth).draw(300, 0)
    reached = set()
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        words = text(tokens[:length]).split()
        assert words.pop() == "="
        assert 4 <= len(words) <= 60
        assert words.count("]") == sum(word.startswith("[") for word in words)
        value, deep, most = parse(words)
        assert not words
        assert 2 <= most <= arguments
        assert deep <= depth
        reached.add(deep)
        assert labels[length - 1] == value
        assert (labels != IGNORE).sum() == 1
    assert reached == {2} if depth == 2 else len(reached) >= 3


def test_lengths_follow_their_law() -> None:
    law = law_of_lengths(4, 4, 30)
    _, lengths, _ = grow(np.random.default_rng(0), 20_000, 4, 4, 30)
    counts = np.bincount(lengths, minlength=32)
    expected = 20_000 * np.append(law, 1 - law.sum())
    assert (counts[expected < 1e-6] == 0).all()
    seen = expected > 10
    assert seen.sum() > 20
    error = (counts[seen] - expected[seen]) / expected[seen] ** 0.5
    assert np.abs(error).max() < 4.5


def test_the_law_of_the_flattest_expressions() -> None:
    law = law_of_lengths(3, 2, 8)  # two or three digits, equally often, and two tokens more
    assert law == pytest.approx([0, 0, 0, 0, 0.5, 0.5, 0, 0, 0])


def test_operators_arguments_and_digits_are_uniform() -> None:
    batch = ListOps(min_length=4, length=12, arguments=10, depth=2).draw(8000, 0)
    operators = np.bincount(batch.inputs[:, 0] - 10)
    assert len(operators) == 4
    assert np.abs(operators - 2000).max() < 4 * 2000**0.5
    arguments = np.bincount(batch.lengths - 3, minlength=11)
    assert np.abs(arguments[2:] - 8000 / 9).max() < 4 * (8000 / 9) ** 0.5
    digits = np.bincount(batch.inputs[batch.inputs < 10])
    assert np.abs(digits - digits.mean()).max() < 4 * digits.mean() ** 0.5


def test_expressions_that_are_too_long_are_not_completed() -> None:
    tokens, lengths, _ = grow(np.random.default_rng(0), 500, 20, 30, 50)
    assert tokens.shape == (500, 50)
    assert lengths.max() == 51
    assert lengths.min() >= 4
    kept = lengths <= 50
    assert np.array_equal((tokens[kept] >= 0).sum(axis=1), lengths[kept])


def test_chance_is_the_share_of_the_most_frequent_value() -> None:
    task = ListOps(min_length=4, length=12, depth=2)
    labels = task.draw(5000, 1).labels
    shares = np.bincount(labels[labels != IGNORE]) / 5000
    assert shares.argmax() in (0, 9)
    assert task.chance == pytest.approx(shares.max(), abs=0.03)


def test_grid_goes_to_lras_own_lengths_as_far_as_there_are_any() -> None:
    grid = ListOps().grid()
    assert [e.axes["length"] for e in grid] == [50, 100, 200, 500, 2000]
    assert grid[-1].task == ListOps(min_length=500, length=2000)
    assert grid[2].task == ListOps()
    assert [e.axes["length"] for e in ListOps(4, 11, 3, 3).grid()] == [11]
