"""Parity: is the number of ones in a string odd? It takes state tracking, not memory.

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), parity check.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

EMPTY = 2  # the step in which the answer is given
GRID = (10, 20, 40, 41, 100, 200, 300, 400, 500)  # the paper trains to 40, tests 41 to 500


@register
@dataclass(frozen=True)
class Parity(Task):
    """A string of the tokens 0 and 1, then one empty step (token 2) in which the answer is given:

        inputs   1 0 1 1 2
        labels   . . . . 1      (1: an odd number of ones; '.' = nothing asked)

    min_length: the shortest string
    length:     the longest; each example's own is uniform between the two (ragged batch)

    Tokens 0 and 1 are equally likely, so a guess is right with chance 1/2.
    """

    name: ClassVar[str] = "parity"
    padding: ClassVar[int] = EMPTY

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

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))  # tokens a row
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, steps.size))
        inputs = np.where(steps < count, bits, EMPTY)
        odd = np.sum(inputs == 1, axis=1, keepdims=True) % 2
        labels = np.where(steps == count, odd, IGNORE)
        return Batch(inputs, labels, count[:, 0] + 1)

    def curriculum(self) -> Sequence[Parity]:
        """Strings up to 5, 10, 20, … tokens long, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Strings of one length each: within training, then to 500 tokens."""
        return ranged.slices(self, "length", GRID)
