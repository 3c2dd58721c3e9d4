"""The tasks of the neural Turing machine over lists of random bit vectors: copy, repeat_copy,
associative_recall, priority_sort (Graves et al., arXiv 1410.5401)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Ranged, Slice, Task, check_range, doublings
from ramgru.lab.tasks.registry import register


@dataclass(frozen=True)
class BitVectors(Task):
    """A task whose inputs and answers are bit vectors.

    bits: width of a vector
    """

    metric: ClassVar[str] = "bit accuracy"
    channels: ClassVar[int] = 2  # channels of the inputs beside the bits: flags and numbers
    marks: ClassVar[int] = 0  # outputs beside the bits
    smallest: ClassVar[dict[str, int]] = {"bits": 1}
    vocab_size = 0

    bits: int = 8

    @property
    def features(self) -> int:
        return self.bits + self.channels

    @property
    def outputs(self) -> int:
        return self.bits + self.marks

    @property
    def chance(self) -> float:
        return 0.5

    def _frame(self, rows: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Inputs of zeros, and labels and distances that ask nothing."""
        return (
            np.zeros((rows, steps, self.features), dtype=np.float32),
            np.full((rows, steps, self.outputs), IGNORE, dtype=np.int64),
            np.full((rows, steps), -1, dtype=np.int64),
        )


@register
@dataclass(frozen=True)
class Copy(BitVectors, Ranged):
    """Copy: read a list of random bit vectors, then write the list again, in order.

    Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.1.

    The vectors stand between a start flag and an end flag, each on its own channel. Empty steps
    follow, in which the answer is given. bits 3, two vectors; time runs to the right:

        bit 0    0 1 0 0 0 0        labels   . . . . 1 0
        bit 1    0 1 1 0 0 0                 . . . . 1 1
        bit 2    0 0 1 0 0 0                 . . . . 0 1
        start    1 0 0 0 0 0                             ('.' = nothing asked)
        end      0 0 0 1 0 0

    bits:       width of a vector; the inputs have bits + 2 channels
    min_length: the fewest vectors in a list
    length:     the most; each example draws its own number uniformly between the two

    n vectors take 2n + 2 steps. The metric counts bits; chance is 1/2.
    """

    name: ClassVar[str] = "copy"
    sizes: ClassVar[tuple[int, ...]] = (5, 10, 20, 30, 50, 120, 200, 1000)  # the paper: 10 to 120

    min_length: int = 1
    length: int = 20

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)  # vectors of each row
        lengths = 2 * count[:, 0] + 2
        steps = np.arange(int(lengths.max()))[None]  # (1, T)
        shown = (steps >= 1) & (steps <= count)  # (B, T)
        asked = (steps >= count + 2) & (steps < 2 * count + 2)

        vectors = rng.integers(0, 2, size=(int(shown.sum()), self.bits))
        inputs, labels, _ = self._frame(*shown.shape)
        inputs[shown, : self.bits] = vectors  # in the order of rows, then steps
        inputs[:, 0, self.bits] = 1
        inputs[..., self.bits + 1] = steps == count + 1
        labels[asked] = vectors
        return Batch(inputs, labels, lengths, np.where(asked, count + 1, -1))


@register
@dataclass(frozen=True)
class RepeatCopy(BitVectors, Ranged):
    """Repeat copy: read a list of bit vectors and a number, then write the list that many times.

    Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.2.

    The vectors stand between a start flag and an end flag. With the end flag comes the number of
    repeats r, on its own channel, as (r - 5.5) / 2.87. Empty steps follow, in which all copies are
    the answer; an end mark on one more output closes them. bits 2, two vectors, r = 2; time runs to
    the right:

        bit 0    0 1 0 0 0 0 0 0 0     labels   . . . . 1 0 1 0 0
        bit 1    0 1 1 0 0 0 0 0 0              . . . . 1 1 1 1 0
        start    1 0 0 0 0 0 0 0 0     mark     . . . . 0 0 0 0 1
        end      0 0 0 1 0 0 0 0 0
        number   0 0 0 z 0 0 0 0 0     z = -1.22   ('.' = nothing asked)

    bits:        width of a vector; the inputs have bits + 3 channels, the answers bits + 1
    min_length:  the fewest vectors in a list
    length:      the most; each example draws its own number uniformly between the two
    min_repeats: the fewest copies
    repeats:     the most; each example draws its own number uniformly between the two

    n vectors, r times, take n + 3 + n * r steps. The metric counts bits, the mark's included, so
    chance is that of zeros everywhere, a little more than 1/2.
    """

    name: ClassVar[str] = "repeat_copy"
    kinds: ClassVar[tuple[str, ...]] = ("copy", "mark")
    channels: ClassVar[int] = 3
    marks: ClassVar[int] = 1
    # (length, repeats) of the grid: the paper trains to (10, 10), tests (10, 20) and (20, 10)
    points: ClassVar[tuple[tuple[int, int], ...]] = (
        *((5, 5), (10, 10), (10, 20), (20, 10), (20, 20), (40, 40), (100, 100)),
    )
    # Mean and deviation of the numbers 1 to 10, the paper's repeats in training. They scale the
    # channel of the number at every size, so that a number looks the same at all sizes.
    MEAN: ClassVar[float] = 5.5
    DEVIATION: ClassVar[float] = 8.25**0.5

    min_length: int = 1
    length: int = 10
    min_repeats: int = 1
    repeats: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "repeats", 1)

    @property
    def chance(self) -> float:
        copied = (self.min_length + self.length) * (self.min_repeats + self.repeats) / 4  # mean
        zeros = copied * (self.bits / 2 + 1) + self.bits
        return zeros / (self.outputs * (copied + 1))

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)
        repeats = rng.integers(self.min_repeats, self.repeats + 1, size=(rows, 1))
        lengths = (count + 3 + count * repeats)[:, 0]
        inputs, labels, distance = self._frame(rows, int(lengths.max()))
        kind = np.full_like(distance, -1)
        vectors = rng.integers(0, 2, size=(rows, int(count.max()), self.bits))

        row, vector = np.nonzero(np.arange(vectors.shape[1]) < count)
        inputs[row, 1 + vector, : self.bits] = vectors[row, vector]
        inputs[:, 0, self.bits] = 1
        every, end = np.arange(rows), count[:, 0] + 1
        inputs[every, end, self.bits + 1] = 1
        inputs[every, end, self.bits + 2] = (repeats[:, 0] - self.MEAN) / self.DEVIATION

        steps = np.arange(distance.shape[1])[None]  # (1, T)
        row, step = np.nonzero((steps >= count + 2) & (steps < lengths[:, None] - 1))
        vector = (step - count[row, 0] - 2) % count[row, 0]
        labels[row, step, : self.bits] = vectors[row, vector]
        labels[row, step, self.bits] = 0
        labels[every, lengths - 1] = np.arange(self.outputs) == self.bits
        distance[row, step] = step - (1 + vector)
        distance[every, lengths - 1] = lengths - 1 - end  # of the mark: from the number
        kind[row, step] = 0
        kind[every, lengths - 1] = 1
        return Batch(inputs, labels, lengths, distance, kind)

    def curriculum(self) -> Sequence[Task]:
        """Up to 2 vectors twice, 4 four times, 8 eight times, …, up to this task itself."""
        stages = [
            self.resized(
                length=max(self.min_length, min(n, self.length)),
                repeats=max(self.min_repeats, min(n, self.repeats)),
            )
            for n in doublings(2, max(self.length, self.repeats))
        ]
        return tuple(dict.fromkeys((*(stage for stage in stages if stage != self), self)))

    def grid(self) -> Sequence[Slice]:
        """One length and one number each: within training, then to 100 vectors 100 times."""
        return tuple(
            Slice(
                {"length": length, "repeats": repeats},
                self.resized(
                    min_length=length, length=length, min_repeats=repeats, repeats=repeats
                ),
            )
            for length, repeats in sorted({*self.points, (self.length, self.repeats)})
        )


@register
@dataclass(frozen=True)
class AssociativeRecall(BitVectors, Ranged):
    """Associative recall over bit vectors: shown one item of a list, write the item after it.

    Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.3.

    An item is a few bit vectors after a delimiter. After the list, one item comes again between two
    delimiters of another channel. Empty steps follow, in which the item after it is the answer.
    bits 2, vectors 2, three items, the second of which comes again; time runs to the right:

        bit 0    0 0 0 0 0 1 0 1 0 0 0 1 0 0 0      labels   . . . . . . . . . . . . . 1 0
        bit 1    0 1 1 0 0 1 0 0 1 0 0 1 0 0 0               . . . . . . . . . . . . . 0 1
        item     1 0 0 1 0 0 1 0 0 0 0 0 0 0 0
        query    0 0 0 0 0 0 0 0 0 1 0 0 1 0 0                            ('.' = nothing asked)

    bits:      width of a vector; the inputs have bits + 2 channels
    vectors:   vectors of an item
    min_items: the fewest items
    items:     the most; each example draws its own number uniformly between the two

    The items of an example are different, and any but the last may be asked about. n items take
    (n + 2) * (vectors + 1) steps. The metric counts bits; chance is 1/2.
    """

    name: ClassVar[str] = "associative_recall"
    axis: ClassVar[str] = "items"
    easiest: ClassVar[int] = 2
    # the paper trains to 6 items, tests to 20
    sizes: ClassVar[tuple[int, ...]] = (2, 3, 4, 5, 6, 10, 15, 20, 50, 200, 1000)
    smallest: ClassVar[dict[str, int]] = {"bits": 1, "vectors": 1}
    MOST_BITS: ClassVar[int] = 62  # of an item: an item is drawn as one int64

    bits: int = 6
    vectors: int = 3
    min_items: int = 2
    items: int = 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.bits * self.vectors > self.MOST_BITS:
            raise ValueError(
                f"bits * vectors must be at most {self.MOST_BITS}, got {self.bits * self.vectors}"
            )
        if self.items > self.known:
            raise ValueError(
                f"items must be at most {self.known}, the number of different ones at "
                f"bits={self.bits} and vectors={self.vectors}, got {self.items}"
            )

    @property
    def known(self) -> int:
        """The number of different items."""
        return int(2 ** (self.bits * self.vectors))

    @property
    def least(self) -> int:
        return 2

    @property
    def most(self) -> int:
        return self.known

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)[:, 0]  # items of each row
        again = rng.integers(0, count - 1)  # (B,) the item that is the query
        most, vectors, unit = int(count.max()), self.vectors, self.vectors + 1
        codes = sampling.distinct(rng, rows, most, self.known)
        items = codes[..., None] >> np.arange(self.bits * vectors) & 1
        items = items.reshape(rows, most, vectors, self.bits)
        query, answer = items[np.arange(rows), again], items[np.arange(rows), again + 1]

        listed = np.zeros((rows, most, unit, self.features), dtype=np.float32)
        listed[:, :, 0, self.bits] = 1
        listed[:, :, 1:, : self.bits] = items
        listed[np.arange(most) >= count[:, None]] = 0

        row, vector = np.arange(rows)[:, None], np.arange(vectors)
        first = (unit * count)[:, None]  # (B, 1) the step of the first delimiter of the query
        lengths = unit * (count + 2)
        inputs, labels, distance = self._frame(rows, int(lengths.max()))
        inputs[:, : most * unit] = listed.reshape(rows, -1, self.features)
        inputs[row, first + np.array([0, unit]), self.bits + 1] = 1
        inputs[row, first + 1 + vector, : self.bits] = query

        asked = first + unit + 1 + vector  # (B, vectors) the steps of the answer
        labels[row, asked] = answer
        distance[row, asked] = asked - (unit * (again + 1)[:, None] + 1 + vector)
        return Batch(inputs, labels, lengths, distance)


@register
@dataclass(frozen=True)
class PrioritySort(BitVectors):
    """Priority sort: read bit vectors with priorities, then write the first of them in order.

    Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.5.

    The vectors stand between a start flag and an end flag, each with a priority in [-1, 1] on its
    own channel. Empty steps follow, in which the vectors of highest priority are the answer, the
    highest first. bits 2, three vectors, top 2; time runs to the right:

        bit 0      0  1  0  1  0  0  0      labels   . . . . . 0 1
        bit 1      0  1  1  0  0  0  0               . . . . . 1 1
        priority   0 .2 .9 -.4 0  0  0
        start      1  0  0  0  0  0  0
        end        0  0  0  0  1  0  0                       ('.' = nothing asked)

    bits:    width of a vector; the inputs have bits + 3 channels
    vectors: n, the number of vectors shown
    top:     the number of vectors asked for, at most n

    n vectors take n + 2 + top steps. No two of an example have the same priority. The metric counts
    bits; chance is 1/2.
    """

    name: ClassVar[str] = "priority_sort"
    channels: ClassVar[int] = 3
    points: ClassVar[tuple[int, ...]] = (5, 10, 20, 40, 80, 200, 1000)  # the paper: 20 vectors
    LEVELS: ClassVar[int] = 2**24  # different priorities that float32 tells apart

    vectors: int = 20
    top: int = 16

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("vectors", self.vectors, 1, self.LEVELS)
        checks.integer("top", self.top, 1, self.vectors)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count, bits = self.vectors, self.bits
        vectors = rng.integers(0, 2, size=(rows, count, bits))
        level = sampling.distinct(rng, rows, count, self.LEVELS)
        order = np.argsort(-level, axis=1)[:, : self.top]  # (B, top) the highest first

        steps = count + 2 + self.top
        inputs, labels, distance = self._frame(rows, steps)
        inputs[:, 1 : count + 1, :bits] = vectors
        inputs[:, 1 : count + 1, bits] = (2 * level + 1) / self.LEVELS - 1  # exact in float32
        inputs[:, 0, bits + 1] = 1
        inputs[:, count + 1, bits + 2] = 1
        labels[:, count + 2 :] = np.take_along_axis(vectors, order[..., None], axis=1)
        distance[:, count + 2 :] = np.arange(count + 2, steps) - (1 + order)
        return Batch(inputs, labels, np.full(rows, steps, dtype=np.int64), distance)

    def curriculum(self) -> Sequence[Task]:
        """2, 4, 8, … vectors with their share of answers, up to this task itself."""
        return (*(self._scaled(n).task for n in doublings(2, self.vectors)), self)

    def grid(self) -> Sequence[Slice]:
        """5 to 1,000 vectors with their share of answers, and this task itself."""
        return tuple(map(self._scaled, sorted({*self.points, self.vectors})))

    def _scaled(self, vectors: int) -> Slice:
        return self.at(vectors=vectors, top=-(-self.top * vectors // self.vectors))
