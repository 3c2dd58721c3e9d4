"""Associative recall in which keys are written again: the latest value counts.

After zoology's `forgetting_mqar`; there a new value can equal the old one, here it never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.mqar import GRID, check_sizes, doublings, layout, power_law
from ramgru.lab.tasks.registry import register


@register
@dataclass(frozen=True)
class MQARUpdate(Task):
    """As `mqar`, and `updates` of the keys are written a second time. V = 12, pairs 3, updates 1,
    length 16:

        inputs   2 8 4 7 1 9 4 11 4  0 0 0 1 0 2 0
        labels   . . . . . . . .  11 . . . 9 . 8 .
                 k v k v k v k v' k        k   k     ('.' = nothing asked)

    vocab_size:    V; keys are tokens in [1, V/2), values in [V/2, V), 0 is blank
    pairs:         keys, each asked for once
    updates:       how many of them are written again, at most `pairs`
    length:        T, even, at least 4 * pairs + 2 * updates
    power:         exponent of the gaps before the questions, as in `mqar`
    random_blanks: put random tokens in place of the blanks

    A guess among all values is right with chance 2/V. A memory that knows which values it saw but
    not of which key reaches 1/(pairs + updates); one that keeps the first value of each key
    answers all of the kind "kept" and none of the kind "updated".
    """

    name: ClassVar[str] = "mqar_update"
    metric: ClassVar[str] = "recall"
    kinds: ClassVar[tuple[str, ...]] = ("kept", "updated")

    vocab_size: int = 8192
    pairs: int = 8
    updates: int = 4
    length: int = 64
    power: float = 0.01
    random_blanks: bool = False

    def __post_init__(self) -> None:
        checks.integer("vocab_size", self.vocab_size, 4)
        checks.integer("pairs", self.pairs, 1)
        checks.integer("updates", self.updates, 0, self.pairs)
        check_sizes(self, f"pairs={self.pairs} and updates={self.updates}")

    @property
    def needed(self) -> int:
        """The shortest length that holds the pairs, the updates and the questions."""
        return 4 * self.pairs + 2 * self.updates

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - self.vocab_size // 2)

    @property
    def plateau(self) -> float:
        return 1 / (self.pairs + self.updates)

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        half, pairs, updates = self.vocab_size // 2, self.pairs, self.updates
        values_known = self.vocab_size - half
        keys = 1 + sampling.distinct(rng, rows, pairs, half - 1)
        values = sampling.distinct(rng, rows, pairs, values_known)
        again = sampling.distinct(rng, rows, updates, pairs)  # (B, updates) which keys
        # A shift by 1 … n-1 around the circle of n values is uniform over the other values.
        shift = rng.integers(1, values_known, size=(rows, updates))
        fresh = (np.take_along_axis(values, again, axis=1) + shift) % values_known

        slots = np.tile(np.arange(pairs), (rows, 1))
        np.put_along_axis(slots, again, pairs + np.arange(updates)[None], axis=1)
        written_keys = np.concatenate([keys, np.take_along_axis(keys, again, axis=1)], axis=1)
        written_values = half + np.concatenate([values, fresh], axis=1)
        places = power_law(self.length // 2 - (pairs + updates), self.power)
        gaps = sampling.weighted(rng, rows, pairs, places)
        batch = layout(
            written_keys[..., None], written_values, keys[..., None], slots, gaps, self.length
        )

        kind = np.full((rows, self.length), -1, dtype=np.int64)
        asked_at = 2 * (pairs + updates) + 2 * gaps
        np.put_along_axis(kind, asked_at, (slots >= pairs).astype(np.int64), axis=1)
        if self.random_blanks:
            noise = rng.integers(self.vocab_size, size=batch.inputs.shape)
            np.copyto(batch.inputs, noise, where=batch.inputs == 0)
        return Batch(batch.inputs, batch.labels, batch.lengths, batch.distance, kind)

    def curriculum(self) -> Sequence[MQARUpdate]:
        """2, 4, 8, … pairs with their share of updates, up to this task itself."""
        smaller = (
            self._scaled(pairs, self.length * pairs // self.pairs & ~1)
            for pairs in doublings(self.pairs)
        )
        return (*smaller, self)

    def grid(self) -> Sequence[Slice]:
        """The numbers of pairs of `mqar`, with their share of updates, and this task itself."""
        tasks = {self, *(self._scaled(p, t) for p, t in GRID if p < self.vocab_size // 2)}
        return tuple(
            Slice({"pairs": task.pairs, "updates": task.updates, "length": task.length}, task)
            for task in sorted(tasks, key=lambda task: (task.pairs, task.length))
        )

    def _scaled(self, pairs: int, length: int) -> MQARUpdate:
        updates = min(pairs, -(-self.updates * pairs // self.pairs))  # rounded up
        return self.resized(
            pairs=pairs, updates=updates, length=max(length, 4 * pairs + 2 * updates)
        )
