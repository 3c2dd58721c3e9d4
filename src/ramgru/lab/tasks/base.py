"""What a task is: a frozen description that draws batches from a seed, and can be made larger."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar, TypeVar

import numpy as np

SomeTask = TypeVar("SomeTask", bound="Task")

IGNORE = -100  # the label of a position at which nothing is asked (torch's own ignore_index)


@dataclass(frozen=True)
class Batch:
    """Examples side by side. B examples, T steps, F features.

    inputs:   (B, T) int64 tokens, or (B, T, F) float32 features
    labels:   (B, T) int64 tokens or classes, or (B, T, F) int64 bits; IGNORE where nothing is asked
    lengths:  (B,) int64, the steps of each example that count; the rest is padding
    distance: (B, T) int64, steps from the write that holds the answer to the question;
              -1 where nothing is asked, or None for tasks in which that has no meaning
    kind:     (B, T) int64, which of `Task.kinds` the question at this place is; -1 where nothing
              is asked, or None for tasks that ask questions of one kind only
    """

    inputs: np.ndarray
    labels: np.ndarray
    lengths: np.ndarray
    distance: np.ndarray | None = None
    kind: np.ndarray | None = None


@dataclass(frozen=True)
class Slice:
    """One point of an evaluation: where it lies on the axes, and the task that measures it.

    axes: for example {"pairs": 256, "length": 1024}
    """

    axes: dict[str, int]
    task: Task


@dataclass(frozen=True)
class Task(ABC):
    """A frozen dataclass of sizes. Equal tasks and equal seeds give equal bits."""

    name: ClassVar[str]
    metric: ClassVar[str] = "accuracy"  # what the share of right answers is called here
    kinds: ClassVar[tuple[str, ...]] = ()  # names of the kinds of question, where there are several
    classes: ClassVar[bool] = False  # an answer over features is one of `outputs` classes, not bits
    padding: ClassVar[int] = 0  # the input of the steps beyond an example's length

    @property
    @abstractmethod
    def vocab_size(self) -> int:
        """Number of tokens, of inputs and of labels; 0 for a task over features."""

    @property
    def features(self) -> int:
        """Width of one input step of a task over features; 0 for a task over tokens."""
        return 0

    @property
    def outputs(self) -> int:
        """Width of one answer of a task over features, its bits, or the number of its classes; 0
        for a task over tokens."""
        return 0

    @property
    @abstractmethod
    def chance(self) -> float:
        """The metric of a model that guesses without having looked at the input."""

    @property
    def plateau(self) -> float | None:
        """The metric of a memory that knows which answers it saw but not where; None if unclear."""
        return None

    @abstractmethod
    def draw(self, batch_size: int, seed: int) -> Batch:
        """`batch_size` examples; the same bits for the same seed, everywhere."""

    def curriculum(self) -> Sequence[Task]:
        """From easy to this task itself; trained through in this order when a curriculum is on."""
        return (self,)

    def grid(self) -> Sequence[Slice]:
        """What an evaluation sweeps: sizes within and far beyond the training range."""
        return (Slice({}, self),)

    def held_out(self) -> Task:
        """What is drawn to measure progress while this task is trained on: itself, with other
        seeds, unless a file sets a part aside."""
        return self

    def options(self) -> dict[str, Any]:
        """The sizes of this task by name: `ramgru.lab.tasks.get(task.name, **task.options())`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: v.item() if isinstance(v, np.generic) else v for name, v in values.items()}

    def resized(self: SomeTask, **sizes: Any) -> SomeTask:
        """The same task with other sizes."""
        return replace(self, **sizes)
