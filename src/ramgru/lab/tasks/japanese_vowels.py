"""Japanese vowels: nine men say the vowels a and e; which of them does a recording show?

Kudo, Toyama and Shimbo, "Multidimensional curve classification using passing-through regions"
(Pattern Recognition Letters 20, 1999); UCI Machine Learning Repository, licence CC BY 4.0. Read
from the installed package aeon, which carries the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, packaged, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

SPLITS = {"train": "TRAIN", "test": "TEST"}
CHANNELS, SPEAKERS = 12, 9


@register
@dataclass(frozen=True)
class JapaneseVowels(Task):
    """Series of 7 to 29 steps of 12 real numbers each (LPC cepstrum coefficients); in the last
    step the speaker, 0 to 8, is the answer. Four channels of one series:

        channel 0    1.86  1.89  1.94 …  1.26      labels   . . . … 0      ('.' = nothing asked)
        channel 1   -0.21 -0.19 -0.24 … -0.64
        channel 2    0.26  0.24  0.26 …  0.22
        channel 3   -0.21 -0.25 -0.29 …  0.26

    split: "train" (270 series, 30 a speaker) or "test" (370), the data set's own

    A batch holds every series of the split once before any comes again. An evaluation draws from
    the test split; as it has 370 series only, more questions than that narrow no interval. Chance
    is the share of the most frequent speaker: 1/9 of the training, 24 % of the test split.

    Drawing needs the package aeon: pip install 'ramgru[vowels]'. None of its code is used, so
    `pip install --no-deps aeon` is enough, and much smaller.
    """

    name: ClassVar[str] = "japanese_vowels"
    classes: ClassVar[bool] = True

    split: str = "train"

    def __post_init__(self) -> None:
        checks.one_of("split", self.split, tuple(SPLITS))

    @property
    def vocab_size(self) -> int:
        return 0

    @property
    def features(self) -> int:
        return CHANNELS

    @property
    def outputs(self) -> int:
        return SPEAKERS

    @property
    def chance(self) -> float:
        speakers = _series(self.split)[2]
        return float(np.bincount(speakers).max() / speakers.size)

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        series, lengths, speakers = _series(self.split)
        chosen = sampling.each_once(np.random.default_rng(seed), rows, lengths.size)
        lengths = lengths[chosen]
        inputs = series[chosen, : int(lengths.max())]
        labels = np.full(inputs.shape[:2], IGNORE)
        labels[np.arange(rows), lengths - 1] = speakers[chosen]
        return Batch(inputs, labels, lengths)

    def grid(self) -> Sequence[Slice]:
        """The test split as it is."""
        return (Slice({}, self.held_out()),)

    def held_out(self) -> JapaneseVowels:
        """The test split."""
        return self.resized(split="test")


@lru_cache(maxsize=len(SPLITS))
def _series(split: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """-> series (n, longest, 12) float32, 0 beyond their ends; lengths (n,); speakers (n,)."""
    place = f"datasets/data/JapaneseVowels/JapaneseVowels_{SPLITS[split]}.ts"
    lines = packaged.lines("aeon", place, extra="vowels", task=JapaneseVowels.name)
    # A line a series: channels between colons, steps between commas, at last the class from 1 on.
    rows = [line.split(":") for line in lines if line.strip() and line[0] not in "#@"]
    read = [np.array([c.split(",") for c in row[:-1]], dtype=np.float32).T for row in rows]
    lengths = np.array([len(steps) for steps in read])
    series = np.zeros((len(read), int(lengths.max()), CHANNELS), dtype=np.float32)
    for padded, steps in zip(series, read):
        padded[: len(steps)] = steps
    return series, lengths, np.array([int(row[-1]) - 1 for row in rows])
