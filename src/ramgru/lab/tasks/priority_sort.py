"""Priority sort: read bit vectors with a priority each, then write the first of them in order.

Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

GRID = (5, 10, 20, 40, 80, 200, 1000)  # vectors; the paper trains and tests on 20
LEVELS = 2**24  # different priorities that float32 tells apart


@register
@dataclass(frozen=True)
class PrioritySort(Task):
    """Vectors between a start and an end flag, with a priority in [-1, 1] on a channel of its own;
    then empty steps, in which the vectors of highest priority are the answer, the highest first.
    bits 2, three vectors, top 2; time runs to the right:

        bit 0      0  1  0  1  0  0  0      labels   . . . . . 0 1
        bit 1      0  1  1  0  0  0  0               . . . . . 1 1
        priority   0 .2 .9 -.4 0  0  0
        start      1  0  0  0  0  0  0
        end        0  0  0  0  1  0  0                       ('.' = nothing asked)

    bits:    width of a vector; the inputs have bits + 3 channels
    vectors: n, how many are shown
    top:     how many of them are asked for, at most n

    n vectors take n + 2 + top steps. No two of an example have the same priority. The metric counts
    bits: a guess is right with chance 1/2.
    """

    name: ClassVar[str] = "priority_sort"
    metric: ClassVar[str] = "bit accuracy"

    bits: int = 8
    vectors: int = 20
    top: int = 16

    def __post_init__(self) -> None:
        checks.integer("bits", self.bits, 1)
        checks.integer("vectors", self.vectors, 1, LEVELS)
        checks.integer("top", self.top, 1, self.vectors)

    @property
    def vocab_size(self) -> int:
        return 0

    @property
    def features(self) -> int:
        return self.bits + 3

    @property
    def outputs(self) -> int:
        return self.bits

    @property
    def chance(self) -> float:
        return 0.5

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count, bits = self.vectors, self.bits
        vectors = rng.integers(0, 2, size=(rows, count, bits))
        level = sampling.distinct(rng, rows, count, LEVELS)
        order = np.argsort(-level, axis=1)[:, : self.top]  # (B, top) the highest first

        steps = count + 2 + self.top
        inputs = np.zeros((rows, steps, self.features), dtype=np.float32)
        inputs[:, 1 : count + 1, :bits] = vectors
        inputs[:, 1 : count + 1, bits] = (2 * level + 1) / LEVELS - 1  # exact in float32
        inputs[:, 0, bits + 1] = 1
        inputs[:, count + 1, bits + 2] = 1
        labels = np.full((rows, steps, bits), IGNORE, dtype=np.int64)
        labels[:, count + 2 :] = np.take_along_axis(vectors, order[..., None], axis=1)
        distance = np.full((rows, steps), -1, dtype=np.int64)
        distance[:, count + 2 :] = np.arange(count + 2, steps) - (1 + order)
        return Batch(inputs, labels, np.full(rows, steps, dtype=np.int64), distance)

    def curriculum(self) -> Sequence[PrioritySort]:
        """2, 4, 8, … vectors with their share of answers, up to this task itself."""
        sizes = (2**i for i in range(1, self.vectors.bit_length()))
        return (*(self._scaled(n) for n in sizes if n < self.vectors), self)

    def grid(self) -> Sequence[Slice]:
        """5 to 1,000 vectors with their share of answers, and this task itself."""
        return tuple(
            Slice({"vectors": task.vectors, "top": task.top}, task)
            for task in map(self._scaled, sorted({*GRID, self.vectors}))
        )

    def _scaled(self, vectors: int) -> PrioritySort:
        return self.resized(vectors=vectors, top=-(-self.top * vectors // self.vectors))
