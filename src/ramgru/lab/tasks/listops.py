"""listops: the value of nested MAX, MIN, MED and SM over digits.

Expressions are drawn a whole batch at a time, depth by depth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task, check_range, doublings
from ramgru.lab.tasks.registry import register

MAX, MIN, MED, SM, CLOSE = range(10, 15)
EMPTY = 15  # the step in which the answer is given
CHARACTERS = (*"0123456789", "[MAX", "[MIN", "[MED", "[SM", "]", "=")
GRID = ((20, 50), (50, 100), (100, 200), (200, 500), (500, 2000))  # the last one is LRA's own
OPERATOR = 0.25  # probability that an argument is an operator, above the deepest level
ROUNDING = 1e-12  # shares below are errors of the Fourier transform
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
    smallest: ClassVar[dict[str, int]] = {"arguments": 2, "depth": 2}
    vocab_size = len(CHARACTERS)

    min_length: int = 20
    length: int = 200
    arguments: int = 10
    depth: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "length", 4)
        found = share(self.min_length, self.length, self.arguments, self.depth)
        if found < RAREST:
            raise ValueError(
                f"min_length and length must span at least {RAREST:g} of the expressions with "
                f"arguments={self.arguments} and depth={self.depth}, got {self.min_length} to "
                f"{self.length}, which span {found:.2g}"
            )

    @property
    def chance(self) -> float:
        return _most_frequent(self)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        fitting = share(self.min_length, self.length, self.arguments, self.depth)
        parts, found = [], 0
        while found < rows:
            candidates = min(4096, 8 + int(1.2 * (rows - found) / fitting))
            tokens, lengths, values = grow(rng, candidates, self.arguments, self.depth, self.length)
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
    return float(law_of_lengths(arguments, depth, high)[low:].sum())


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


@dataclass(frozen=True)
class Level:
    """All n nodes of one depth, in the order of rows, then from left to right.

    row:       (n,) the expression of each node
    parent:    (n,) its operator, a place in the level above
    operator:  (n,) bool; the others are digits
    arguments: (n,) its number of arguments, 0 for a digit
    token:     (n,) the digit, or the operator's token
    """

    row: np.ndarray
    parent: np.ndarray
    operator: np.ndarray
    arguments: np.ndarray
    token: np.ndarray


def grow(
    rng: np.random.Generator, rows: int, arguments: int, depth: int, longest: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Expressions that begin with an operator, with 2 to `arguments` arguments each.

    depth:   the most levels of the tree, that of the deepest digits included
    longest: the most tokens; a longer expression is not completed
    -> tokens (rows, longest), -1 beyond an expression's end; lengths (rows,), longest + 1 for an
       expression that was not completed and has no valid tokens or value; values (rows,)
    """
    levels = _levels(rng, rows, arguments, depth, longest)
    sizes, values = _fold(levels)
    lengths = sizes[0]
    tokens = np.full((rows, longest), -1)
    start = np.zeros(rows, dtype=np.int64)
    for level, size in zip(levels, sizes):
        if level is not levels[0]:
            start = _starts(start, level, size)
        kept = lengths[level.row] <= longest
        tokens[level.row[kept], start[kept]] = level.token[kept]
        kept &= level.operator
        tokens[level.row[kept], (start + size - 1)[kept]] = CLOSE
    return tokens, np.minimum(lengths, longest + 1), values


@lru_cache(maxsize=64)
def law_of_lengths(arguments: int, depth: int, longest: int) -> np.ndarray:
    """(longest + 1,) the probability of 0, 1, 2, … tokens of an expression; read-only."""
    part = np.zeros(longest + 1)  # of one argument, at the deepest level
    part[1] = 1
    for _ in range(depth - 2):
        whole = _operation(part, arguments)
        part = OPERATOR * whole
        part[1] += 1 - OPERATOR
    law = _operation(part, arguments)
    law[law < ROUNDING] = 0
    law.setflags(write=False)
    return law


def _operation(part: np.ndarray, arguments: int) -> np.ndarray:
    """The law of the tokens of an operator, from that of one argument; both (longest + 1,).

    The tokens of k arguments together follow the k-th power of their law under convolution.
    """
    size = 2 * part.size
    one = np.fft.rfft(part, size)
    power, total = part, np.zeros_like(part)
    for _ in range(arguments - 1):
        power = np.fft.irfft(np.fft.rfft(power, size) * one, size)[: part.size]
        total += power / (arguments - 1)
    whole = np.zeros_like(part)
    whole[2:] = total[:-2]  # the operator and its bracket
    return whole


def _levels(
    rng: np.random.Generator, rows: int, arguments: int, depth: int, longest: int
) -> list[Level]:
    levels: list[Level] = []
    row = parent = np.arange(rows)
    nodes = np.zeros(rows, dtype=np.int64)
    for above in range(depth):
        nodes += np.bincount(row, minlength=rows)
        if above == 0:
            operator = np.ones(rows, dtype=bool)
        else:
            # Every node has a token at least: an expression with too many nodes stops growing.
            operator = (rng.random(row.size) < OPERATOR) & (nodes[row] <= longest)
            operator &= above < depth - 1
        count = np.where(operator, rng.integers(2, arguments + 1, size=row.size), 0)
        token = np.where(
            operator, rng.integers(MAX, CLOSE, size=row.size), rng.integers(10, size=row.size)
        )
        levels.append(Level(row, parent, operator, count, token))
        if not operator.any():
            break
        row, parent = np.repeat(row, count), np.repeat(np.arange(row.size), count)
    return levels


def _fold(levels: list[Level]) -> tuple[list[np.ndarray], np.ndarray]:
    """-> the tokens of each node, level by level; the values of the first level."""
    value = levels[-1].token
    sizes = [np.ones(value.size, dtype=np.int64)]
    for level in reversed(levels[:-1]):
        count = level.arguments[level.operator]
        first = np.cumsum(count) - count  # of each operator, among the nodes below
        group = np.repeat(np.arange(count.size), count)
        ordered = value[np.lexsort((value, group))]
        kinds = {
            MAX: ordered[first + count - 1],
            MIN: ordered[first],
            MED: (ordered[first + (count - 1) // 2] + ordered[first + count // 2]) // 2,
            SM: np.add.reduceat(value, first) % 10,
        }
        size = np.ones(level.row.size, dtype=np.int64)
        size[level.operator] = np.add.reduceat(sizes[0], first) + 2
        value = level.token.copy()
        operators = level.token[level.operator]
        value[level.operator] = np.select([operators == kind for kind in kinds], [*kinds.values()])
        sizes.insert(0, size)
    return sizes, value


def _starts(above: np.ndarray, level: Level, size: np.ndarray) -> np.ndarray:
    """(n,) the step of each node's first token. above: those of the level above; size: (n,)."""
    before = np.cumsum(size) - size
    first = np.searchsorted(level.parent, level.parent)  # the first argument of the same operator
    return above[level.parent] + 1 + before - before[first]
