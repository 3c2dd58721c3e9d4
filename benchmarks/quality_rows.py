"""What a claim about quality is made of: a training, what its model is asked, and the bars."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from quality_measures import answers

from ramgru.lab.evaluate import Effort
from ramgru.lab.tasks import Task
from ramgru.lab.train import TrainConfig

# (directory of a run, task, effort) -> {what was found: its value}
Measure = Callable[[Path, Task, Effort], dict[str, float]]


@dataclass(frozen=True)
class Bar:
    """What a value has to be: on the mean over seeds, or, with `every`, for each seed.

    value: name of what a measurement found. least, most: None: no bound; without either the value
    is only shown.
    """

    value: str = "score"
    least: float | None = None
    most: float | None = None
    every: bool = False

    def holds(self, values: list[float]) -> bool | None:
        """Whether the values, one a seed, meet the bar; None where it has no bound."""
        if self.least is None and self.most is None:
            return None
        judged = values if self.every else [sum(values) / len(values)]
        return all(
            (self.least is None or value >= self.least)
            and (self.most is None or value <= self.most)
            for value in judged
        )


@dataclass(frozen=True)
class Question:
    """One measurement of a trained model: axes says how the page names its size."""

    axes: Mapping[str, int]
    task: Task
    bars: tuple[Bar, ...] = (Bar(),)
    effort: Effort = field(default_factory=Effort)
    measure: Measure = answers


@dataclass(frozen=True)
class Row:
    """A claim, and how it is put to the test.

    training: of every seed, but for the seed and, where there are `rates`, the learning rate
    rates:    learning rates to choose from, by the held-out loss on the first seed
    above:    the row whose model this one has to beat in every score
    picture:  "curves": of learning; another word: scores against this axis
    """

    name: str
    claim: str
    training: TrainConfig
    questions: tuple[Question, ...]
    rates: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    above: str | None = None
    picture: Literal["curves", "pairs"] | None = None

    @property
    def trials(self) -> list[TrainConfig]:
        """The trainings that the learning rate is chosen by."""
        return [replace(self.training, lr=lr, seed=self.seeds[0]) for lr in self.rates]
