"""The copy task: read a list of random bit vectors, then write it out again, in order.

Graves et al., "Neural Turing Machines" (arXiv 1410.5401), §4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

GRID = (5, 10, 20, 30, 50, 120, 200, 1000)  # the paper tests 10, 20, 30, 50 and 120


@register
@dataclass(frozen=True)
class Copy(Task):
    """Vectors between a start and an end flag, each flag a channel of its own, then empty steps in
    which the answer is given. bits 3, two vectors; time runs to the right:

        bit 0    0 1 0 0 0 0        labels   . . . . 1 0
        bit 1    0 1 1 0 0 0                 . . . . 1 1
        bit 2    0 0 1 0 0 0                 . . . . 0 1
        start    1 0 0 0 0 0                             ('.' = nothing asked)
        end      0 0 0 1 0 0

    bits:       width of a vector; the inputs have bits + 2 channels
    min_length: the fewest vectors in a list
    length:     the most; each example's own number is uniform between the two (ragged batch)

    n vectors take 2n + 2 steps. The metric counts bits: a guess is right with chance 1/2.
    """

    name: ClassVar[str] = "copy"
    metric: ClassVar[str] = "bit accuracy"

    bits: int = 8
    min_length: int = 1
    length: int = 20

    def __post_init__(self) -> None:
        checks.integer("bits", self.bits, 1)
        ranged.check(self, "length", 1)

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
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))  # vectors a row
        lengths = 2 * count[:, 0] + 2
        steps = np.arange(int(lengths.max()))[None]  # (1, T)
        shown = (steps >= 1) & (steps <= count)  # (B, T)
        asked = (steps >= count + 2) & (steps < 2 * count + 2)

        vectors = rng.integers(0, 2, size=(int(shown.sum()), self.bits))
        inputs = np.zeros((*shown.shape, self.features), dtype=np.float32)
        inputs[shown, : self.bits] = vectors  # in the order of rows, then steps
        inputs[:, 0, self.bits] = 1
        inputs[..., self.bits + 1] = steps == count + 1
        labels = np.full((*shown.shape, self.bits), IGNORE, dtype=np.int64)
        labels[asked] = vectors
        distance = np.where(asked, count + 1, -1)
        return Batch(inputs, labels, lengths, distance)

    def curriculum(self) -> Sequence[Copy]:
        """Lists up to 5, 10, 20, … vectors long, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Lists of one length each: within training, then to 1,000 vectors."""
        return ranged.slices(self, "length", GRID)
