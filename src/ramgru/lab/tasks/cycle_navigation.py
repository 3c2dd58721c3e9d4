"""Cycle navigation: where on a circle does a walk end? It takes state tracking, not memory.

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), cycle navigation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

STATES = 5
MOVES = np.array([0, 1, STATES - 1])  # stay, a step on, a step back
EMPTY = STATES  # the step in which the answer is given
GRID = (10, 20, 40, 41, 100, 200, 300, 400, 500)  # the paper trains to 40, tests 41 to 500


@register
@dataclass(frozen=True)
class CycleNavigation(Task):
    """A walk from state 0 on a cycle of 5 states, then one empty step (token 5) in which its last
    state is the answer. A move is written as what it adds modulo 5: 0 stays, 1 goes a step on,
    4 a step back:

        inputs   1 4 0 4 4 5
        labels   . . . . . 3      ('.' = nothing asked)

    min_length: the fewest moves of a walk
    length:     the most; each example's own number is uniform between the two (ragged batch)

    The moves are equally likely. A guess among the states is right with chance 1/5.
    """

    name: ClassVar[str] = "cycle_navigation"
    padding: ClassVar[int] = EMPTY

    min_length: int = 1
    length: int = 40

    def __post_init__(self) -> None:
        ranged.check(self, "length", 1)

    @property
    def vocab_size(self) -> int:
        return STATES + 1

    @property
    def chance(self) -> float:
        return 1 / STATES

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))  # moves a row
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        moves = MOVES[rng.integers(0, MOVES.size, size=(rows, steps.size))]
        inputs = np.where(steps < count, moves, EMPTY)  # an empty step adds 5, that is nothing
        state = np.sum(inputs, axis=1, keepdims=True) % STATES
        labels = np.where(steps == count, state, IGNORE)
        return Batch(inputs, labels, count[:, 0] + 1)

    def curriculum(self) -> Sequence[CycleNavigation]:
        """Walks of up to 5, 10, 20, … moves, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Walks of one length each: within training, then to 500 moves."""
        return ranged.slices(self, "length", GRID)
