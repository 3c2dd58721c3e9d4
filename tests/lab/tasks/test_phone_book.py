"""Entries with a key each, and those that are looked up again."""

import re

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, PhoneBook, exact_answers

from .text_solvers import examples, phone_book, read

ENTRY = {"phone": r"[A-Z]([aeiou][a-z]){2}[aeiou] \d{7}", "log": r"#[0-9a-f]{5} [a-z]{4,8}"}


@pytest.mark.parametrize("form", ["phone", "log"])
def test_rows_are_as_the_docstring_says(form: str) -> None:
    batch = PhoneBook(form=form, min_entries=3, entries=9, questions=3).draw(200, 0)
    counts = set()
    for tokens, length in zip(batch.inputs, batch.lengths, strict=True):
        text = read(tokens)
        assert len(text) == length
        assert text.endswith("¶")
        *entries, a, b, c = text[:-1].split("¶")
        counts.add(len(entries))
        assert all(re.fullmatch(ENTRY[form], entry) for entry in entries)
        assert len({entry.split(" ")[0] for entry in entries}) == len(entries)
        assert len({a, b, c}) == 3
        assert {a, b, c} <= {*entries}
    assert counts == {*range(3, 10)}


@pytest.mark.parametrize("form", ["phone", "log"])
def test_chance_is_the_share_of_the_most_frequent_character(form: str) -> None:
    task = PhoneBook(form=form)
    labels = task.draw(2000, 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    assert task.chance == pytest.approx(counts.max() / counts.sum(), abs=0.01)


def test_every_entry_is_asked_for_equally_often() -> None:
    batch = PhoneBook(min_entries=8, entries=8, questions=2).draw(4000, 0)
    counts = np.zeros(8)
    for tokens in batch.inputs:
        *entries, a, b = read(tokens)[:-1].split("¶")
        counts[[entries.index(a), entries.index(b)]] += 1
    assert np.abs(counts - 1000).max() < 4 * 1000**0.5


@pytest.mark.parametrize("form", ["phone", "log"])
def test_the_docstring_shows_true_examples(form: str) -> None:
    task = PhoneBook(form=form)
    batch = dict(zip(("phone", "log"), examples(task), strict=True))[form]
    assert exact_answers(batch, phone_book(task, batch)).right.tolist() == [True]
