"""The data of the pictures: plain numbers, independent of torch, runs and files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

# 97.5 % quantiles of Student's t for 1 … 30 degrees of freedom; the normal quantile beyond.
_T975 = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
    *(2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042),
)


@dataclass(frozen=True)
class Score:
    """A mean score with its 95 % interval; low and high are None without one."""

    mean: float
    low: float | None = None
    high: float | None = None


def over_seeds(
    scores: Sequence[float],
    low: float | None,
    high: float | None,
    *,
    least: float = 0.0,
    most: float = 1.0,
) -> Score:
    """The mean of one score a seed, with Student's interval over seeds, clipped to [least, most].

    A single seed gives no such interval: the score keeps low and high, the evaluation's interval
    over examples.
    """
    if not scores:
        raise ValueError("scores: expected at least one number, got none")
    n, mean = len(scores), float(np.mean(scores))
    if n == 1:
        return Score(mean, low, high)
    t = _T975[n - 2] if n - 2 < len(_T975) else 1.96
    half = t * float(np.std(scores, ddof=1)) / math.sqrt(n)
    return Score(mean, max(least, mean - half), min(most, mean + half))


@dataclass(frozen=True)
class Line:
    """A layer's scores along one axis: x (n,) and a Score for each.

    label: instead of the layer's own, if given.
    """

    layer: str
    x: Sequence[float]
    scores: Sequence[Score]
    label: str | None = None


@dataclass(frozen=True)
class Curve:
    """One training run: the loss at `steps`, the metric at `metric_steps`."""

    layer: str
    seed: int
    steps: Sequence[int]
    loss: Sequence[float]
    metric_steps: Sequence[int]
    metric: Sequence[float]


@dataclass(frozen=True)
class Point:
    """A layer's score against its cost: bytes of recurrent state, or microseconds of a step."""

    layer: str
    cost: float
    score: Score


@dataclass(frozen=True)
class Occupancy:
    """Writes per cell of one layer, for the cells that were written.

    cells, writes: for each head, the numbers of its written cells and their counts.
    """

    memory_size: int
    cells: Sequence[Sequence[int]]
    writes: Sequence[Sequence[int]]

    @classmethod
    def of(cls, counts: np.ndarray) -> Occupancy:
        """counts (H, N): writes of each cell."""
        cells = [np.flatnonzero(row) for row in counts]
        writes = [row[used] for row, used in zip(counts, cells)]
        return cls(counts.shape[1], [c.tolist() for c in cells], [w.tolist() for w in writes])

    @property
    def used(self) -> int:
        """Cells written at least once, summed over heads."""
        return sum(len(head) for head in self.cells)

    def most_written(self, head: int, most: int = 8) -> list[tuple[int, int]]:
        """(cell, writes) of a head's cells, most written first."""
        pairs = zip(self.cells[head], self.writes[head])
        return sorted(pairs, key=lambda pair: (-pair[1], pair[0]))[:most]

    @property
    def share(self) -> float:
        """Cells in use / all cells."""
        return self.used / (self.memory_size * len(self.cells))

    @property
    def distinct_per_write(self) -> float:
        """Cells in use / writes: 1 if no two writes share a cell."""
        total = sum(sum(head) for head in self.writes)
        return self.used / total if total else 0.0


@dataclass(frozen=True)
class Answer:
    """One question of a sample, the model's answer, and the provenance of its read.

    step: the step of the question. weight (T,): of each step's write in the read at that step.
    expected: the right answer; written: the step that holds it; None if not known. error: how far
    numbers are from the right ones, on average; None for other answers, and if not known.
    """

    step: int
    expected: str | None
    answered: str
    weight: Sequence[float]
    written: int | None = None
    error: float | None = None

    @property
    def right(self) -> bool | None:
        """None if the right answer is not known, and for numbers, which are judged by their
        error."""
        if self.expected is None or self.error is not None:
            return None
        return self.expected == self.answered


@dataclass(frozen=True)
class Scale:
    """The column whose numbers are told: its name, and its standard deviation in the file, by which
    errors are judged."""

    name: str
    spread: float


@dataclass(frozen=True)
class Sample:
    """One input and its answers: tokens (T labels), an answer to each question, and the scale of
    answers that are numbers."""

    tokens: Sequence[str]
    answers: Sequence[Answer] = field(default_factory=list)
    scale: Scale | None = None


@dataclass(frozen=True)
class Question:
    """A step at which the model is asked.

    expected: the right answer: a token or class (int), bits (F,), or numbers (O,) in the unit of
    their column, NaN beyond the end; None if not known. written: the step that holds it; None if
    not known. origin (O,): the numbers of a model that answers 0.
    """

    step: int
    expected: int | np.ndarray | None = None
    written: int | None = None
    origin: np.ndarray | None = None


@dataclass(frozen=True)
class Example:
    """inputs: (T,) int64 tokens or (T, F) float32 features; questions in the order of steps; the
    scale of answers that are numbers."""

    inputs: np.ndarray
    questions: Sequence[Question]
    scale: Scale | None = None
