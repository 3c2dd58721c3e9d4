"""A long token sequence as rows that continue from chunk to chunk, for truncated backpropagation
through time with a carried state."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ramgru.lab.tasks import checks


@dataclass(frozen=True)
class Chunk:
    """One training step of a stream.

    inputs: (B, T) int64 tokens
    labels: (B, T) int64, the next token of each
    reset:  (B, T) bool, True where the state is reset before the step
    step:   the number of the chunk, counted from 0 over all epochs
    epoch:  the number of the pass over the tokens
    """

    inputs: np.ndarray
    labels: np.ndarray
    reset: np.ndarray
    step: int
    epoch: int


@dataclass(frozen=True, eq=False)
class Stream:
    """`batch_size` contiguous rows of one sequence, read `length` tokens at a time. B = 2, T = 3:

        tokens   a b c d e f g h i j k l m …
        rows     a b c d e f | g h i j k l
        chunk 0  a b c       chunk 1  d e f      (labels: b c d, e f g)
                 g h i                j k l

    A chunk is a function of its number alone, so a resumed run asks for the next number. Every
    epoch reads the same chunks and begins with a reset. The tail that does not fill a chunk (fewer
    than B * T + 1 tokens) is left out.

    tokens: (n,) integers;  ValueError if they do not fill one chunk
    """

    tokens: np.ndarray
    batch_size: int
    length: int

    def __post_init__(self) -> None:
        checks.integer("batch_size", self.batch_size, 1)
        checks.integer("length", self.length, 1)
        if self.chunks_per_epoch < 1:
            raise ValueError(
                f"batch_size * length + 1 = {self.batch_size * self.length + 1} tokens are "
                f"needed for one chunk, got {len(self.tokens)}"
            )

    @property
    def chunks_per_epoch(self) -> int:
        return (len(self.tokens) - 1) // (self.batch_size * self.length)

    def chunk(self, step: int) -> Chunk:
        """The chunk of this number."""
        step = checks.integer("step", step, 0)
        epoch, index = divmod(step, self.chunks_per_epoch)
        row = self.chunks_per_epoch * self.length  # tokens of a row
        starts = row * np.arange(self.batch_size) + index * self.length
        places = starts[:, None] + np.arange(self.length + 1)[None]  # (B, T + 1)
        window = np.asarray(self.tokens[places], dtype=np.int64)
        reset = np.zeros((self.batch_size, self.length), dtype=bool)
        reset[:, 0] = index == 0
        inputs, labels = window[:, :-1].copy(), window[:, 1:].copy()
        return Chunk(inputs, labels, reset, step, epoch)
