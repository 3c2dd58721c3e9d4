"""listops: the value of nested MAX, MIN, MED and SM over digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, expressions
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task, check_range, doublings
from ramgru.lab.tasks.registry import register

CLOSE, EMPTY = 14, 15  # a closing bracket; the step in which the answer is given
CHARACTERS = (*"0123456789", "[MAX", "[MIN", "[MED", "[SM", "]", "=")
GRID = ((20, 50), (50, 100), (100, 200), (200, 500), (500, 2000))  # the last one is LRA's own
RAREST = 1e-3  # the least share of all expressions that the lengths must cover
GUESSES = 2048  # expressions that chance is measured on


@register
@dataclass(frozen=True)
class ListOps(Task):
    """ListOps: what is the value of nested MAX, MIN, MED and SM over digits?

    Tay et al., "Long Range Arena" (LRA, arXiv 2011.04006), after Nangia and Bowman (arXiv
    1804.06028).

    An expression in prefix notation, then one empty step in which its value is the answer:

        written  [MAX 4 [SM 7 2 5 ] [MED 1 8 2 ] 0  ]  =
        inputs   10   4 13  7 2 5 14 12  1 8 2 14 0 14 15
        labels   .    . .   . . . .  .   . . . .  . .  4       ('.' = nothing asked)

    MED is the median; of an even number of digits it is the mean of the two in the middle, rounded
    down. SM is the sum modulo 10.

    min_length: the fewest tokens of an expression
    length:     the most
    arguments:  the most arguments of an operator; their number is uniform from 2 on
    depth:      the deepest nesting, digits included

    An argument that is not too deep is an operator with probability 1/4, else a digit. This is
    LRA's law given the length, so short expressions are more frequent than long ones; LRA has 500
    to 2,000 tokens, 10 arguments and a depth of 10. MAX is often 9 and MIN often 0; chance is the
    measured share of the most frequent value.
    """

    name: ClassVar[str] = "listops"
    padding: ClassVar[int] = EMPTY

    min_length: int = 20
    length: int = 200
    arguments: int = 10
    depth: int = 10

    def __post_init__(self) -> None:
        check_range(self, "length", 4)
        checks.integer("arguments", self.arguments, 2)
        checks.integer("depth", self.depth, 2)
        found = share(self.min_length, self.length, self.arguments, self.depth)
        if found < RAREST:
            raise ValueError(
                f"min_length and length must span at least {RAREST:g} of the expressions with "
                f"arguments={self.arguments} and depth={self.depth}, got {self.min_length} to "
                f"{self.length}, which span {found:.2g}"
            )

    @property
    def vocab_size(self) -> int:
        return len(CHARACTERS)

    @property
    def chance(self) -> float:
        return _most_frequent(self)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        fitting = share(self.min_length, self.length, self.arguments, self.depth)
        parts, found = [], 0
        while found < rows:
            candidates = min(4096, 8 + int(1.2 * (rows - found) / fitting))
            tokens, lengths, values = expressions.grow(
                rng, candidates, self.arguments, self.depth, self.length
            )
            fit = np.flatnonzero((lengths >= self.min_length) & (lengths <= self.length))
            fit = fit[: rows - found]
            parts.append((tokens[fit], lengths[fit], values[fit]))
            found += fit.size
        tokens, lengths, values = (np.concatenate(part) for part in zip(*parts))
        inputs = np.full((rows, int(lengths.max()) + 1), EMPTY)
        inputs[:, :-1] = np.where(tokens >= 0, tokens, EMPTY)[:, : inputs.shape[1] - 1]
        labels = np.full(inputs.shape, IGNORE)
        labels[np.arange(rows), lengths] = values
        return Batch(inputs, labels, lengths + 1)

    def curriculum(self) -> Sequence[Task]:
        """Expressions of 5 to 10 tokens, 10 to 20, 20 to 40, …, up to this task itself."""
        easier = [(min(n // 2, self.min_length), n) for n in doublings(10, self.length)]
        return (*(self._of(low, high) for low, high in easier if self._has(low, high)), self)

    def grid(self) -> Sequence[Slice]:
        """Expressions of 20 to 50 tokens, 50 to 100, … up to LRA's 500 to 2,000, where such exist,
        and those of the task itself."""
        own = (self.min_length, self.length)
        ranges = {high: (low, high) for low, high in (*GRID, own) if self._has(low, high)}
        return tuple(Slice({"length": n}, self._of(*ranges[n])) for n in sorted(ranges))

    def _of(self, low: int, high: int) -> ListOps:
        return self.resized(min_length=low, length=high)

    def _has(self, low: int, high: int) -> bool:
        return share(low, high, self.arguments, self.depth) >= RAREST


def share(low: int, high: int, arguments: int, depth: int) -> float:
    """The share of all expressions that have `low` to `high` tokens."""
    return float(expressions.lengths(arguments, depth, high)[low:].sum())


def text(tokens: np.ndarray) -> str:
    """(T,) tokens as written.

    >>> text(np.array([13, 7, 2, 5, 14, 15]))
    '[SM 7 2 5 ] ='
    """
    return " ".join(CHARACTERS[token] for token in tokens.tolist())


@lru_cache(maxsize=64)
def _most_frequent(task: ListOps) -> float:
    """The share of the most frequent value among expressions of a fixed seed."""
    labels = task.draw(GUESSES, 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    return float(counts.max() / counts.sum())
