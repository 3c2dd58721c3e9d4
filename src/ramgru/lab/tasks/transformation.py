"""Transformations of a binary string: read it, then write its tokens out in another order.

The form of Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098): after
the n steps of the string, as many empty steps as the answer is long.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, SomeTask, Task

EMPTY = 2  # the steps in which the answer is given
GRID = (10, 20, 40, 41, 100, 200, 300, 400, 500)  # the paper trains to 40, tests 41 to 500


@dataclass(frozen=True)
class StringTransformation(Task):
    """A string of the tokens 0 and 1, then empty steps (token 2), each of which asks for one token
    of the string; a subclass says which.

    min_length: the shortest string
    length:     the longest; each example's own is uniform between the two (ragged batch)

    Tokens 0 and 1 are equally likely, so a guess is right with chance 1/2.
    """

    padding: ClassVar[int] = EMPTY
    answer_length: ClassVar[int] = 1  # tokens of the answer for each token of the string

    min_length: int = 1
    length: int = 40

    def __post_init__(self) -> None:
        ranged.check(self, "length", 1)

    @property
    def vocab_size(self) -> int:
        return 3

    @property
    def chance(self) -> float:
        return 0.5

    @abstractmethod
    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        """(B, A) the step of the string that holds the token at `place` (1, A) of the answer, for
        strings of `count` (B, 1) tokens; what it says beyond an answer's end is not looked at."""

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))  # tokens a row
        lengths = (1 + self.answer_length) * count
        steps = np.arange(int(lengths.max()))[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, int(count.max())))
        inputs = np.full((rows, steps.size), EMPTY)
        inputs[steps < count] = bits[steps[:, : bits.shape[1]] < count]

        asked = (steps >= count) & (steps < lengths)
        row, step = np.nonzero(asked)
        answer = np.arange(self.answer_length * bits.shape[1])[None]
        source = self.sources(answer, count)[row, step - count[row, 0]]
        labels = np.full(inputs.shape, IGNORE)
        labels[row, step] = bits[row, source]
        distance = np.full(inputs.shape, -1)
        distance[row, step] = step - source
        return Batch(inputs, labels, lengths[:, 0], distance)

    def curriculum(self: SomeTask) -> Sequence[SomeTask]:
        """Strings up to 5, 10, 20, … tokens long, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Strings of one length each: within training, then to 500 tokens."""
        return ranged.slices(self, "length", GRID)
