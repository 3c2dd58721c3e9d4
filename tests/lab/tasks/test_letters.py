"""Rows of letters: put together by hand, string copies, n-grams and the letters after them."""

import numpy as np

from ramgru.lab.tasks import IGNORE, NgramLookup, StringCopy, exact_answers, letters
from ramgru.lab.tasks.letters import make_unique


def part(*texts: str) -> letters.Part:
    """The strings as a part, of different lengths."""
    tokens = np.zeros((len(texts), max(map(len, texts))), dtype=np.int64)
    for row, text in enumerate(texts):
        tokens[row, : len(text)] = [letters.CHARACTERS.index(c) for c in text]
    return tokens, np.array([[len(text)] for text in texts])


def test_parts_follow_each_other_row_by_row() -> None:
    joined = letters.join([part("ab", "c"), letters.mark(letters.BAR, 2), part("d", "xyz")])
    assert [letters.text(row) for row in joined] == ["ab|d*", "c|xyz"]


def test_answer_is_asked_for_one_step_before_it_is_shown() -> None:
    batch = letters.ask([part("$abc|", "$q|")], part("bc", "q"), np.array([[2], [1]]))
    assert [letters.text(row) for row in batch.inputs] == ["$abc|bc.", "$q|q.***"]
    assert batch.lengths.tolist() == [8, 5]
    x = IGNORE
    assert batch.labels.tolist() == [[x, x, x, x, 1, 2, x, x], [x, x, 16, x, x, x, x, x]]
    assert batch.distance is not None
    assert batch.distance[batch.distance >= 0].tolist() == [2, 2, 1]


def test_strings_are_uniform() -> None:
    batch = StringCopy(min_length=2, length=6).draw(5000, 0)
    counts = np.bincount((batch.lengths - 3) // 2, minlength=7)
    assert counts[:2].tolist() == [0, 0]
    assert np.abs(counts[2:] - 1000).max() < 4 * 1000**0.5
    drawn = np.bincount(batch.labels[batch.labels != IGNORE], minlength=26)
    expected = drawn.sum() / 26
    assert np.abs(drawn - expected).max() < 4 * expected**0.5


def test_a_string_is_right_when_all_its_letters_are() -> None:
    batch = StringCopy(min_length=5, length=5).draw(4, 0)
    predicted = batch.labels.copy()
    predicted[1, 6] = (predicted[1, 6] + 1) % 26  # the first letter of one string
    predicted[2, 10] = (predicted[2, 10] + 1) % 26  # the last of another
    found = exact_answers(batch, predicted)
    assert found.right.tolist() == [True, False, False, True]
    assert found.count.tolist() == [5, 5, 5, 5]


def occurrences(string: str, ngram: str) -> list[int]:
    return [i for i in range(len(string)) if string.startswith(ngram, i)]


def test_places_of_ngrams_are_uniform() -> None:
    batch = NgramLookup(min_length=8, length=8).draw(5000, 0)
    counts = np.bincount((batch.labels != IGNORE).sum(axis=1), minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5


def test_make_unique_changes_other_places_and_keeps_the_ngram() -> None:
    string = np.zeros((50, 12), dtype=np.int64)  # the n-gram aaa, in every place
    place = np.arange(50)[:, None] % 10
    make_unique(np.random.default_rng(0), string, place, 3)
    for row, (start,) in zip(string, place.tolist(), strict=True):
        assert occurrences(letters.text(row), "aaa") == [start]
