"""Random expressions of nested operators over digits, a whole batch at a time, depth by depth."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

OPERATOR = 0.25  # probability that an argument is an operator, above the deepest level
ROUNDING = 1e-12  # shares below are errors of the Fourier transform
MAX, MIN, MED, SM, CLOSE = range(10, 15)


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
def lengths(arguments: int, depth: int, longest: int) -> np.ndarray:
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
