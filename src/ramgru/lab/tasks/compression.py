"""Compression: rebuild a whole sequence from the state at its end.

Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
compression; the same tokens as athms/mad-lab.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, guess
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

GRID = (8, 16, 32, 64, 128, 256, 1024)  # the paper trains and tests on 32 to 256


@register
@dataclass(frozen=True)
class Compression(Task):
    """L - 1 random tokens in [0, V - 1), then the marker V - 1. MAD gives the state of the last
    step alone to a decoder that has to name all L tokens. A causal model has no decoder; what asks
    the same of it are L - 1 empty steps after the marker (the marker again), in which the tokens
    are the answer, in order: whatever it answers it has to bring along in the state that it had at
    the marker. V = 8, length 4:

        inputs   5 0 3 7 7 7 7
        labels   . . . . 5 0 3      ('.' = nothing asked)

    vocab_size: V
    length:     L, tokens and marker; the causal form has 2L - 1 steps
    exact:      MAD's own arrays, L steps with every token its own label. They are for a decoder
                such as MAD's: a causal model that is asked at the token's own step sees the answer

    A guess is right with chance 1/(V - 1); a memory that knows the tokens but not their order
    guesses one of them.
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
        return guess.among_held(self.length - 1, self.chance)

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        marker, count = self.vocab_size - 1, self.length - 1
        tokens = rng.integers(marker, size=(rows, count))  # the numbers that MAD draws row by row
        steps = self.length if self.exact else self.length + count
        lengths = np.full(rows, steps, dtype=np.int64)
        inputs = np.full((rows, steps), marker, dtype=np.int64)
        inputs[:, :count] = tokens
        if self.exact:
            return Batch(inputs, inputs.copy(), lengths, np.zeros_like(inputs))
        labels = np.full(inputs.shape, IGNORE, dtype=np.int64)
        labels[:, self.length :] = tokens
        distance = np.where(labels == IGNORE, -1, self.length)
        return Batch(inputs, labels, lengths, distance)

    def curriculum(self) -> Sequence[Compression]:
        """4, 8, 16, … tokens with the marker, up to this task itself."""
        lengths = (2**i for i in range(2, self.length.bit_length()))
        return (*(self.resized(length=n) for n in lengths if n < self.length), self)

    def grid(self) -> Sequence[Slice]:
        """The lengths of the paper, shorter and longer ones, and this task's own."""
        return tuple(
            Slice({"length": n}, self.resized(length=n)) for n in sorted({*GRID, self.length})
        )
