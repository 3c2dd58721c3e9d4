"""A task: a frozen dataclass of sizes that draws batches of examples from a seed."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

from ramgru.lab.tasks import checks

SomeTask = TypeVar("SomeTask", bound="Task")

IGNORE = -100  # the label of a step that asks nothing (torch's own ignore_index)


@dataclass(frozen=True)
class Batch:
    """B examples of T steps; F features.

    inputs:   (B, T) int64 tokens, or (B, T, F) float32 features
    labels:   (B, T) int64 tokens or classes, or (B, T, F) int64 bits; IGNORE where nothing is
              asked; or (B, T, F) float32 numbers, and there NaN
    lengths:  (B,) int64, the steps of each example; later steps are padding
    distance: (B, T) int64, steps from the write that holds the answer to the question;
              -1 where nothing is asked; None for tasks without such a write
    kind:     (B, T) int64, the question's place in `Task.kinds`; -1 where nothing is asked; None
              for tasks with one kind of question
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    distance: np.ndarray | None = None
    kind: np.ndarray | None = None


def is_asked(labels: np.ndarray) -> np.ndarray:
    """Where a label asks something: bool, of the labels' shape."""
    asked: np.ndarray = ~np.isnan(labels) if labels.dtype.kind == "f" else labels != IGNORE
    return asked


@dataclass(frozen=True)
class Slice:
    """One point of an evaluation: its axes, for example {"pairs": 256, "length": 1024}, and the
    task of that size."""

    axes: dict[str, int]
    task: Task


@dataclass(frozen=True)
class Task(ABC):
    """A frozen dataclass of sizes. Equal tasks and equal seeds give equal bits."""

    name: ClassVar[str]
    metric: ClassVar[str] = "accuracy"  # the name of the share of right answers
    kinds: ClassVar[tuple[str, ...]] = ()  # names of the kinds of question, if there are several
    classes: ClassVar[bool] = False  # answers over features: one of `outputs` classes, not bits
    padding: ClassVar[int] = 0  # the input of the steps beyond an example's length
    smallest: ClassVar[dict[str, int]] = {}  # integer sizes, checked: {name: smallest value}

    def __post_init__(self) -> None:
        """Check the sizes. Raises ValueError or TypeError that names the size."""
        for name, least in self.smallest.items():
            checks.integer(name, getattr(self, name), least)

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens of inputs and labels; 0 for a task over features."""

    @property
    def features(self) -> int:
        """Width of an input step of a task over features; 0 for a task over tokens."""
        return 0

    @property
    def outputs(self) -> int:
        """Bits of an answer of a task over features, or its number of classes; 0 for tokens."""
        return 0

    @property
    @abstractmethod
    def chance(self) -> float:
        """The metric of a guess that does not look at the input."""

    @property
    def plateau(self) -> float | None:
        """The metric of a memory that knows the answers but not where they occurred, if known."""
        return None

    def draw(self, batch_size: int, seed: int) -> Batch:
        """`batch_size` examples; equal seeds give equal bits on every machine."""
        rows, seed = checks.draw_arguments(batch_size, seed)
        return self._draw(rows, np.random.default_rng(seed))

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        """`rows` examples, all randomness from `rng`. A task that needs the seed itself overrides
        `draw` instead."""
        raise NotImplementedError(f"{type(self).__name__} must define _draw or draw")

    @property
    def number_of_examples(self) -> int | None:
        """Number of examples, if there are only so many: `draw` of this number gives each once."""
        return None

    def curriculum(self) -> Sequence[Task]:
        """The stages of curriculum training, from easy sizes to this task itself."""
        return (self,)

    def grid(self) -> Sequence[Slice]:
        """The points of an evaluation: sizes within and far beyond the training range."""
        return (Slice({}, self),)

    def held_out(self) -> Task:
        """The task that measures progress during training: this task, drawn from other seeds,
        unless its data set has a held-out part."""
        return self

    def options(self) -> dict[str, Any]:
        """The sizes by name: `ramgru.lab.tasks.get(task.name, **task.options())` is this task."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}

    def resized(self: SomeTask, **sizes: Any) -> SomeTask:
        """The same task with other sizes."""
        return replace(self, **sizes)

    def at(self, **sizes: int) -> Slice:
        """The point of an evaluation with these sizes as its axes."""
        return Slice(sizes, self.resized(**sizes))


@dataclass(frozen=True)
class Sized(Task):
    """A task with one size that curriculum and evaluation go through."""

    axis: ClassVar[str] = "length"  # the name of the size
    easiest: ClassVar[int] = 5  # the size of the curriculum's first stage; each next one doubles it
    sizes: ClassVar[tuple[int, ...]] = ()  # of the grid

    @property
    def least(self) -> int:
        """The smallest value of the size that the other options allow."""
        return 1

    @property
    def most(self) -> int | None:
        """The largest value of the size that the other options allow; None for no limit."""
        return None

    def curriculum(self) -> Sequence[Task]:
        """The size `easiest`, twice that, four times that, …, up to this task itself."""
        low, high = getattr(self, f"min_{self.axis}", self.least), getattr(self, self.axis)
        stages = (n for n in doublings(self.easiest, high) if n >= low)
        return (*(self.resized(**{self.axis: n}) for n in stages), self)

    def grid(self) -> Sequence[Slice]:
        """One size each: `sizes` within `least` and `most`, and the task's own."""
        allowed = (n for n in self.sizes if n >= self.least and (not self.most or n <= self.most))
        task = self.held_out()
        return tuple(
            Slice({self.axis: n}, task.resized(**self._exactly(n)))
            for n in sorted({*allowed, getattr(self, self.axis)})
        )

    def _exactly(self, size: int) -> dict[str, int]:
        return {self.axis: size}


@dataclass(frozen=True)
class Ranged(Sized):
    """A task whose examples draw their size themselves, uniformly from min_SIZE to SIZE.

    A subclass has both as fields.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, self.axis, self.least)

    def counts(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """(rows, 1) int64, each example's own size."""
        low, high = (getattr(self, name) for name in (f"min_{self.axis}", self.axis))
        return rng.integers(low, high + 1, size=(rows, 1))

    def _exactly(self, size: int) -> dict[str, int]:
        return {f"min_{self.axis}": size, self.axis: size}


def check_range(task: Task, size: str, low: int) -> None:
    """ValueError or TypeError unless low <= min_SIZE <= SIZE, all of them integers."""
    high = checks.integer(size, getattr(task, size), low)
    checks.integer(f"min_{size}", getattr(task, f"min_{size}"), low, high)


def doublings(first: int, below: int) -> list[int]:
    """first, 2 * first, 4 * first, … below `below`.

    >>> doublings(2, 16)
    [2, 4, 8]
    """
    return [n for n in (first * 2**i for i in range(below.bit_length())) if n < below]


def nothing_asked(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and distances, (B, T) int64, of a batch that asks nothing yet."""
    return np.full(shape, IGNORE, dtype=np.int64), np.full(shape, -1, dtype=np.int64)


def among_held(held: int, chance: float) -> float | None:
    """The plateau of a memory that holds `held` independent answers and guesses one of them: that
    one is the right one, or equals the right one with probability `chance`. None if held is 1.

    >>> among_held(4, 0.25)
    0.4375
    """
    return 1 / held + (1 - 1 / held) * chance if held > 1 else None


@dataclass(frozen=True)
class ExactAnswers:
    """One entry for each of A answers, in the order of rows and steps.

    right:    (A,) bool, whether every token or bit of the answer is right
    row:      (A,) int64, the example
    start:    (A,) int64, the answer's first step
    count:    (A,) int64, its number of steps
    distance: (A,) int64 or None, as in Batch, at its first step
    kind:     (A,) int64 or None, likewise
    """

    right: np.ndarray
    row: np.ndarray
    start: np.ndarray
    count: np.ndarray
    distance: np.ndarray | None
    kind: np.ndarray | None


def exact_answers(batch: Batch, predicted: np.ndarray) -> ExactAnswers:
    """Join consecutive questions into answers of several steps and check each answer as a whole.

    predicted: tokens or bits, of the labels' shape; ignored where nothing is asked. Raises
    ValueError for another shape.
    """
    if predicted.shape != batch.labels.shape:
        raise ValueError(
            f"predicted must be of the labels' shape {batch.labels.shape}, got {predicted.shape}"
        )
    right = (predicted == batch.labels) | (batch.labels == IGNORE)
    asked = batch.labels != IGNORE
    if asked.ndim == 3:  # a step over features is right when all its bits are
        right, asked = right.all(axis=2), asked.any(axis=2)
    first = asked.copy()
    first[:, 1:] &= ~asked[:, :-1]
    row, start = np.nonzero(first)
    flat = np.flatnonzero(asked)
    number = np.cumsum(first.ravel())[flat] - 1  # of the answer that each question belongs to
    wrong = np.bincount(number, weights=~right.ravel()[flat], minlength=row.size)
    return ExactAnswers(
        right=wrong == 0,
        row=row,
        start=start,
        count=np.bincount(number, minlength=row.size),
        distance=None if batch.distance is None else batch.distance[row, start],
        kind=None if batch.kind is None else batch.kind[row, start],
    )
