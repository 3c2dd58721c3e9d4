"""compression: rebuild a sequence from the state at its end (MAD, arXiv 2403.17844)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import Batch, Slice, Task, among_held, doublings, nothing_asked
from ramgru.lab.tasks.registry import register

GRID = (8, 16, 32, 64, 128, 256, 1024)  # the paper trains and tests on 32 to 256


@register
@dataclass(frozen=True)
class Compression(Task):
    """Compression: rebuild a whole sequence from the state at its end.

    Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
    compression; the same tokens as athms/mad-lab.

    L - 1 random tokens in [0, V - 1), then the marker V - 1. MAD gives the state of the last step
    alone to a decoder, which has to name all L tokens. A causal model has no decoder; the
    equivalent is L - 1 empty steps after the marker (the marker again), in which the tokens are the
    answer, in order: the state at the marker has to hold them all. V = 8, length 4:

        inputs   5 0 3 7 7 7 7
        labels   . . . . 5 0 3      ('.' = nothing asked)

    vocab_size: V
    length:     L, tokens and marker; the causal form has 2L - 1 steps
    exact:      MAD's own arrays, L steps with every token its own label. They are for a decoder
                such as MAD's: a causal model would see the answer at the step of the question

    Chance is 1/(V - 1). A memory that knows the tokens but not their order guesses one of them.
    """

    name: ClassVar[str] = "compression"

    vocab_size: int = 16
    length: int = 32
    exact: bool = False

    def __post_init__(self) -> None:
        checks.integer("vocab_size", self.vocab_size, 3)
        checks.integer("length", self.length, 2)

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - 1)

    @property
    def plateau(self) -> float | None:
        return among_held(self.length - 1, self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        marker, count = self.vocab_size - 1, self.length - 1
        tokens = rng.integers(marker, size=(rows, count))  # as MAD draws them row by row
        steps = self.length if self.exact else self.length + count
        lengths = np.full(rows, steps, dtype=np.int64)
        inputs = np.full((rows, steps), marker, dtype=np.int64)
        inputs[:, :count] = tokens
        if self.exact:
            return Batch(inputs, inputs.copy(), lengths, np.zeros_like(inputs))
        labels, distance = nothing_asked(inputs.shape)
        labels[:, self.length :] = tokens
        distance[:, self.length :] = self.length
        return Batch(inputs, labels, lengths, distance)

    def curriculum(self) -> Sequence[Task]:
        """4, 8, 16, … tokens, marker included, up to this task itself."""
        return (*(self.resized(length=n) for n in doublings(4, self.length)), self)

    def grid(self) -> Sequence[Slice]:
        """The lengths of the paper, shorter and longer ones, and this task's own."""
        return tuple(self.at(length=n) for n in sorted({*GRID, self.length}))
