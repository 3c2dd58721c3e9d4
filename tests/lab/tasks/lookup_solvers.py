"""Solvers of look-ups in text: Python's own find and dict."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ramgru.lab.tasks import Batch, Task

ASCII = "".join(map(chr, range(32, 127)))


def read(tokens: np.ndarray) -> str:
    """One row as text, ¶ for the mark, without its padding."""
    return "".join((ASCII + "¶·")[token] for token in tokens.tolist()).rstrip("·")


def text_lookup(task: Task, batch: Batch) -> np.ndarray:
    """The phrase is searched for in the passage, where it stands once."""
    phrase, answer = task.options()["phrase"], task.options()["answer"]
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs):
        passage, *questions = read(tokens).split("¶")
        step = len(passage)
        for question in questions:
            place = passage.index(question[:phrase])
            assert passage.rindex(question[:phrase]) == place
            after = passage[place + phrase :]
            step += phrase
            predicted[row, step : step + answer] = [ASCII.index(c) for c in after[:answer]]
            step += answer + 1
    return predicted


def phone_book(task: Task, batch: Batch) -> np.ndarray:
    """A dictionary; an entry whose key is known is a question."""
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs):
        known: dict[str, str] = {}
        step = 0
        for entry in read(tokens).rstrip("¶").split("¶"):
            key, value = entry.split(" ")
            if key in known:
                blank = step + len(key)
                predicted[row, blank : blank + len(value)] = [ASCII.index(c) for c in known[key]]
            known.setdefault(key, value)
            step += len(entry) + 1
    return predicted


LOOKUP_SOLVERS: dict[str, Callable[[Task, Batch], np.ndarray]] = {
    "text_lookup": text_lookup,
    "phone_book": phone_book,
}
