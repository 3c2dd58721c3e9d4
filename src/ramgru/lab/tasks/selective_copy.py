"""selective_copy: pick the tokens out of blanks, then write them in order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Slice, Task, among_held, doublings, nothing_asked
from ramgru.lab.tasks.registry import register

GRID = (64, 128, 256, 512, 1024, 2048, 4096)  # MAD trains and tests on 256 to 1,024, Mamba on 4,096


@register
@dataclass(frozen=True)
class SelectiveCopy(Task):
    """Selective copy: pick the tokens out of a long stretch of blanks, then write them in order.

    Poli et al. (MAD, arXiv 2403.17844) and Gu and Dao (Mamba, arXiv 2312.00752), §4.1.1; the places
    of the tokens are drawn as in state-spaces/s4, every set of places equally likely.

    Tokens among blanks, then a marker, then as many blanks as there were tokens, in which the
    tokens are the answer. Tokens are in [0, V - 2), a blank is V - 2, the marker V - 1.
    V = 8, three tokens, length 12:

        inputs   6 2 6 6 5 0 6 6 7 6 6 6
        labels   . . . . . . . . . 2 5 0      ('.' = nothing asked)

    vocab_size: V
    tokens:     n, the number of tokens to copy
    length:     T, at least 2n + 1

    Chance is 1/(V - 2). A memory that knows the tokens but not their order guesses one of them.
    """

    name: ClassVar[str] = "selective_copy"

    vocab_size: int = 16
    tokens: int = 16
    length: int = 256

    def __post_init__(self) -> None:
        checks.integer("vocab_size", self.vocab_size, 4)
        checks.integer("tokens", self.tokens, 1)
        checks.integer("length", self.length, 3)
        if self.length < 2 * self.tokens + 1:
            raise ValueError(
                f"length must be at least {2 * self.tokens + 1} for tokens={self.tokens}, "
                f"got {self.length}"
            )

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - 2)

    @property
    def plateau(self) -> float | None:
        return among_held(self.tokens, self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count, blank = self.tokens, self.vocab_size - 2
        shown = self.length - count - 1  # steps before the marker
        tokens = rng.integers(blank, size=(rows, count))
        places = np.sort(sampling.distinct(rng, rows, count, shown), axis=1)
        inputs = np.full((rows, self.length), blank, dtype=np.int64)
        np.put_along_axis(inputs, places, tokens, axis=1)
        inputs[:, shown] = blank + 1
        labels, distance = nothing_asked(inputs.shape)
        labels[:, shown + 1 :] = tokens
        distance[:, shown + 1 :] = np.arange(shown + 1, self.length) - places
        return Batch(inputs, labels, np.full(rows, self.length, dtype=np.int64), distance)

    def curriculum(self) -> Sequence[Task]:
        """2, 4, 8, … tokens among their share of blanks, up to this task itself."""
        smaller = (
            self.resized(tokens=n, length=max(2 * n + 1, self.length * n // self.tokens))
            for n in doublings(2, self.tokens)
        )
        return (*smaller, self)

    def grid(self) -> Sequence[Slice]:
        """The same tokens in more and more blanks, to 4,096 steps, and this task's own length."""
        lengths = {self.length, *(n for n in GRID if n > 2 * self.tokens)}
        return tuple(self.at(length=n) for n in sorted(lengths))
