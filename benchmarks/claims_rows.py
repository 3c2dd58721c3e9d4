"""The parts of a claim: a training, questions to the trained model, and bars on the answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from claims_measures import answers

from ramgru.lab import tasks
from ramgru.lab.evaluate import Effort
from ramgru.lab.tasks import Task
from ramgru.lab.train import ModelConfig, TrainConfig

# (directory of a run, task, effort) -> {name of a measured value: value}
Measure = Callable[[Path, Task, Effort], dict[str, float]]


@dataclass(frozen=True)
class Bar:
    """Bounds on one measured value.

    value: the value's name in the measurement. least, most: None: no bound; a bar without bounds
    only shows the value. every: the bounds hold for each seed, not for the mean over seeds.
    """

    value: str = "score"
    least: float | None = None
    most: float | None = None
    every: bool = False

    def holds(self, values: list[float]) -> bool | None:
        """Whether the values, one per seed, meet the bounds; None without bounds."""
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
    """One measurement of a trained model. axes: the size, as the page names it."""

    axes: Mapping[str, int]
    task: Task
    bars: tuple[Bar, ...] = (Bar(),)
    effort: Effort = field(default_factory=Effort)
    measure: Measure = answers


@dataclass(frozen=True)
class Row:
    """One claim and its experiment.

    claim:    the claim, as the page prints it; source: the paper that published it
    training: the configuration of every seed, except for the seed and, with `rates`, the rate
    rates:    learning rates to choose from, by the held-out loss on the first seed
    above:    name of the row whose scores this row has to exceed
    changes:  why the model differs from the library's defaults
    picture:  "curves": learning curves; any other word: scores against this axis
    """

    name: str
    claim: str
    training: TrainConfig
    questions: tuple[Question, ...]
    rates: tuple[float, ...] = ()
    seeds: tuple[int, ...] = (0, 1, 2)
    above: str | None = None
    source: str = ""
    changes: str = ""
    picture: Literal["curves", "pairs"] | None = None

    @property
    def trials(self) -> list[TrainConfig]:
        """The runs that choose the learning rate."""
        return [replace(self.training, lr=lr, seed=self.seeds[0]) for lr in self.rates]


@dataclass(frozen=True)
class Page:
    """One page of docs/study, and the rows on it.

    compact: one table with a line per row, and scores against bytes of state, in place of a
    section per row; then all rows have the same questions
    missing: what follows the names of rows without results
    """

    name: str
    title: str
    text: str
    rows: tuple[Row, ...]
    compact: bool = False
    missing: str = ""


def training(
    name: str, sizes: Mapping[str, Any], model: ModelConfig | None = None, **how: Any
) -> TrainConfig:
    """The training on one task at these sizes, on one CPU thread."""
    return TrainConfig(
        task=tasks.get(name, **sizes),
        model=model or ModelConfig(),
        threads=1,
        device="cpu",
        **{"batch_size": 64, "lr": 3e-3, **how},
    )


def ask(
    name: str, axes: Mapping[str, int], *bars: Bar, effort: Effort | None = None, **sizes: Any
) -> Question:
    """A question about one size of a task; axes are sizes too."""
    task = tasks.get(name, **{**axes, **sizes})
    return Question(axes, task, bars or (Bar(),), effort or Effort())


def at_length(name: str, length: int, *bars: Bar, **how: Any) -> Question:
    """A question about strings of exactly this length."""
    return replace(
        ask(name, {"length": length}, *bars, min_length=length, **how), axes={"length": length}
    )
