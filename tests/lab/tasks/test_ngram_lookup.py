"""Both forms, the n-gram that stands once, and the answer after it."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, NgramLookup, letters
from ramgru.lab.tasks.letters import make_unique


def occurrences(string: str, ngram: str) -> list[int]:
    return [i for i in range(len(string)) if string.startswith(ngram, i)]


@pytest.mark.parametrize(("n", "length"), [(1, 30), (2, 200), (3, 20), (5, 20)])
@pytest.mark.parametrize("form", ["suffix", "prefix"])
def test_rows_are_as_the_form_says(form: str, n: int, length: int) -> None:
    batch = NgramLookup(form=form, n=n, min_length=n + 1, length=length).draw(200, 0)
    assert batch.distance is not None
    for tokens, labels, distance in zip(batch.inputs, batch.labels, batch.distance, strict=True):
        row = letters.text(tokens)
        answer = letters.text(labels[labels != IGNORE])
        first, second, *third = row[1 : row.index(".")].split("|")
        if form == "suffix":
            string, ngram = first, second[:n]
            assert second == ngram + answer
        else:
            ngram, string = first, second
            assert third == [answer]
        assert len(ngram) == n
        (place,) = occurrences(string, ngram)
        assert answer == string[place + n :] != ""
        (asked,) = np.nonzero(labels != IGNORE)
        assert letters.text(tokens[asked + 1]) == answer
        assert letters.text(tokens[asked - distance[asked]]) == answer


def test_places_are_uniform() -> None:
    batch = NgramLookup(min_length=8, length=8).draw(5000, 0)
    counts = np.bincount((batch.labels != IGNORE).sum(axis=1), minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5


def test_what_stands_elsewhere_is_changed_and_the_ngram_is_not() -> None:
    string = np.zeros((50, 12), dtype=np.int64)  # the n-gram aaa, in every place
    place = np.arange(50)[:, None] % 10
    make_unique(np.random.default_rng(0), string, place, 3)
    for row, (start,) in zip(string, place.tolist(), strict=True):
        assert occurrences(letters.text(row), "aaa") == [start]


def test_grid_reaches_a_thousand_letters() -> None:
    grid = NgramLookup().grid()
    assert [entry.axes["length"] for entry in grid] == [5, 10, 20, 40, 80, 200, 1000]
    assert [e.axes["length"] for e in NgramLookup(n=6, min_length=7).grid()][:2] == [10, 20]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "infix"}, "form must be one of suffix, prefix, got 'infix'"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"n": 5}, "min_length must be from 6 to 20, got 5"),
        ({"n": 20}, "length must be at least 21, got 20"),
    ],
)
def test_errors(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NgramLookup(**options)  # type: ignore[arg-type]
