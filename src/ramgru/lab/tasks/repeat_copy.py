"""Repeat copy: read a list of bit vectors and a number, then write the list that many times.

Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

# length, repeats: the paper trains to (10, 10) and tests (10, 20) and (20, 10)
GRID = ((5, 5), (10, 10), (10, 20), (20, 10), (20, 20), (40, 40), (100, 100))
# Mean and deviation of the numbers 1 to 10: the paper's repeats in training, and the scale of the
# number's channel in tasks of every size, so that a number looks the same in all of them.
MEAN, DEVIATION = 5.5, 8.25**0.5


@register
@dataclass(frozen=True)
class RepeatCopy(Task):
    """Vectors between a start and an end flag; with the end flag comes, on a channel of its own,
    how often to repeat: r as (r - 5.5) / 2.87. Then empty steps, in which all copies are the
    answer, then an end mark on one more output. bits 2, two vectors, r = 2; time runs to the right:

        bit 0    0 1 0 0 0 0 0 0 0     labels   . . . . 1 0 1 0 0
        bit 1    0 1 1 0 0 0 0 0 0              . . . . 1 1 1 1 0
        start    1 0 0 0 0 0 0 0 0     mark     . . . . 0 0 0 0 1
        end      0 0 0 1 0 0 0 0 0
        number   0 0 0 z 0 0 0 0 0     z = -1.22   ('.' = nothing asked)

    bits:        width of a vector; the inputs have bits + 3 channels, the answers bits + 1
    min_length:  the fewest vectors in a list
    length:      the most; each example's own number is uniform between the two (ragged batch)
    min_repeats: the fewest copies
    repeats:     the most; likewise

    n vectors, r times, take n + 3 + n * r steps. The metric counts bits, those of the mark with
    them, so that a guess of zeros everywhere is right a little more often than 1/2.
    """

    name: ClassVar[str] = "repeat_copy"
    metric: ClassVar[str] = "bit accuracy"
    kinds: ClassVar[tuple[str, ...]] = ("copy", "mark")

    bits: int = 8
    min_length: int = 1
    length: int = 10
    min_repeats: int = 1
    repeats: int = 10

    def __post_init__(self) -> None:
        checks.integer("bits", self.bits, 1)
        ranged.check(self, "length", 1)
        ranged.check(self, "repeats", 1)

    @property
    def vocab_size(self) -> int:
        return 0

    @property
    def features(self) -> int:
        return self.bits + 3

    @property
    def outputs(self) -> int:
        return self.bits + 1

    @property
    def chance(self) -> float:
        copied = (self.min_length + self.length) * (self.min_repeats + self.repeats) / 4  # mean
        zeros = copied * (self.bits / 2 + 1) + self.bits
        return zeros / (self.outputs * (copied + 1))

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))
        repeats = rng.integers(self.min_repeats, self.repeats + 1, size=(rows, 1))
        lengths = (count + 3 + count * repeats)[:, 0]
        shape = (rows, int(lengths.max()))
        steps = np.arange(shape[1])[None]  # (1, T)
        vectors = rng.integers(0, 2, size=(rows, int(count.max()), self.bits))

        inputs = np.zeros((*shape, self.features), dtype=np.float32)
        row, vector = np.nonzero(np.arange(vectors.shape[1]) < count)
        inputs[row, 1 + vector, : self.bits] = vectors[row, vector]
        inputs[:, 0, self.bits] = 1
        every, end = np.arange(rows), count[:, 0] + 1
        inputs[every, end, self.bits + 1] = 1
        inputs[every, end, self.bits + 2] = (repeats[:, 0] - MEAN) / DEVIATION

        labels = np.full((*shape, self.outputs), IGNORE, dtype=np.int64)
        row, step = np.nonzero((steps >= count + 2) & (steps < lengths[:, None] - 1))
        vector = (step - count[row, 0] - 2) % count[row, 0]
        labels[row, step, : self.bits] = vectors[row, vector]
        labels[row, step, self.bits] = 0
        labels[every, lengths - 1] = np.arange(self.outputs) == self.bits
        distance = np.full(shape, -1, dtype=np.int64)
        distance[row, step] = step - (1 + vector)
        distance[every, lengths - 1] = lengths - 1 - end  # of the mark: from the number
        kind = np.full(shape, -1, dtype=np.int64)
        kind[row, step] = 0
        kind[every, lengths - 1] = 1
        return Batch(inputs, labels, lengths, distance, kind)

    def curriculum(self) -> Sequence[RepeatCopy]:
        """Up to 2 vectors twice, 4 four times, 8 eight times, …, up to this task itself."""
        sizes = (2**i for i in range(1, max(self.length, self.repeats).bit_length()))
        stages = [
            self.resized(
                length=max(self.min_length, min(n, self.length)),
                repeats=max(self.min_repeats, min(n, self.repeats)),
            )
            for n in sizes
        ]
        return tuple(dict.fromkeys((*(stage for stage in stages if stage != self), self)))

    def grid(self) -> Sequence[Slice]:
        """One length and one number each: within training, then to 100 vectors 100 times."""
        sizes = sorted({*GRID, (self.length, self.repeats)})
        return tuple(
            Slice(
                {"length": length, "repeats": repeats},
                self.resized(
                    min_length=length, length=length, min_repeats=repeats, repeats=repeats
                ),
            )
            for length, repeats in sizes
        )
