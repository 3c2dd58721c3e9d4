"""Associative recall over lists of bit vectors: shown one item, give the one that came after it.

Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

GRID = (2, 3, 4, 5, 6, 10, 15, 20, 50, 200, 1000)  # the paper trains to 6, tests to 20
MOST_BITS = 62  # of an item: it is drawn as one int64


@register
@dataclass(frozen=True)
class AssociativeRecall(Task):
    """Items of a few bit vectors, a delimiter before each; then one of them again, between two
    delimiters of another channel; then empty steps in which the item after it is the answer.
    bits 2, vectors 2, three items, the second of which is shown again; time runs to the right:

        bit 0    0 0 0 0 0 1 0 1 0 0 0 1 0 0 0      labels   . . . . . . . . . . . . . 1 0
        bit 1    0 1 1 0 0 1 0 0 1 0 0 1 0 0 0               . . . . . . . . . . . . . 0 1
        item     1 0 0 1 0 0 1 0 0 0 0 0 0 0 0
        query    0 0 0 0 0 0 0 0 0 1 0 0 1 0 0                            ('.' = nothing asked)

    bits:      width of a vector; the inputs have bits + 2 channels
    vectors:   vectors of an item
    min_items: the fewest items
    items:     the most; each example's own number is uniform between the two (ragged batch)

    The items of an example are different, and any but the last may be asked about. n items take
    (n + 2) * (vectors + 1) steps. The metric counts bits: a guess is right with chance 1/2.
    """

    name: ClassVar[str] = "associative_recall"
    metric: ClassVar[str] = "bit accuracy"

    bits: int = 6
    vectors: int = 3
    min_items: int = 2
    items: int = 6

    def __post_init__(self) -> None:
        checks.integer("bits", self.bits, 1)
        checks.integer("vectors", self.vectors, 1)
        ranged.check(self, "items", 2)
        if self.bits * self.vectors > MOST_BITS:
            raise ValueError(
                f"bits * vectors must be at most {MOST_BITS}, got {self.bits * self.vectors}"
            )
        if self.items > self.known:
            raise ValueError(
                f"items must be at most {self.known}, the number of different ones at "
                f"bits={self.bits} and vectors={self.vectors}, got {self.items}"
            )

    @property
    def known(self) -> int:
        """How many different items there are."""
        return int(2 ** (self.bits * self.vectors))

    @property
    def vocab_size(self) -> int:
        return 0

    @property
    def features(self) -> int:
        return self.bits + 2

    @property
    def outputs(self) -> int:
        return self.bits

    @property
    def chance(self) -> float:
        return 0.5

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_items, self.items + 1, size=rows)  # items a row
        again = rng.integers(0, count - 1)  # (B,) which of them is the query
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
        shape = (rows, int(lengths.max()))
        inputs = np.zeros((*shape, self.features), dtype=np.float32)
        inputs[:, : most * unit] = listed.reshape(rows, -1, self.features)
        inputs[row, first + np.array([0, unit]), self.bits + 1] = 1
        inputs[row, first + 1 + vector, : self.bits] = query

        asked = first + unit + 1 + vector  # (B, vectors) the steps of the answer
        labels = np.full((*shape, self.bits), IGNORE, dtype=np.int64)
        labels[row, asked] = answer
        distance = np.full(shape, -1, dtype=np.int64)
        distance[row, asked] = asked - (unit * (again + 1)[:, None] + 1 + vector)
        return Batch(inputs, labels, lengths, distance)

    def curriculum(self) -> Sequence[AssociativeRecall]:
        """Up to 2, 4, 8, … items, up to this task itself."""
        return ranged.stages(self, "items", 2)

    def grid(self) -> Sequence[Slice]:
        """One number of items each: within training, then to 1,000."""
        return ranged.slices(self, "items", (size for size in GRID if size <= self.known))
