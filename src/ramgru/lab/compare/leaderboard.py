"""Layers by what they reach over all tasks: the mean over tasks of what is above chance."""

from __future__ import annotations

from dataclasses import dataclass

from ramgru.lab.compare.results import Comparison, Results, Run
from ramgru.lab.show.data import Score, over_seeds


@dataclass(frozen=True)
class Standing:
    """A layer's place.

    layer:   its specification
    mean:    of its tasks' scores, 0 at chance, 1 where every answer is right, with the interval
             over seeds; None where it has not been measured on all tasks
    tasks:   {task: the score, mean over the slices of its evaluation}
    state_bytes, step_us, train_us: means over tasks and seeds
    """

    layer: str
    mean: Score | None
    tasks: dict[str, Score]
    state_bytes: float
    step_us: float | None
    train_us: float | None


def above_chance(run: Run) -> float:
    """Mean over the slices: 0 at chance or below, 1 where every answer is right."""
    each = [max(0.0, (row.score - row.chance) / (1 - row.chance)) for row in run.rows]
    return sum(each) / len(each)


def standings(comparison: Comparison) -> list[Standing]:
    """All layers, the best first; those that lack a task last."""
    found = [_standing(comparison, layer) for layer in comparison.layers]
    return sorted(found, key=lambda s: -1.0 if s.mean is None else s.mean.mean, reverse=True)


def _standing(comparison: Comparison, layer: str) -> Standing:
    tasks = [task for task in comparison.tasks if layer in task.layers]
    runs = [run for task in tasks for run in task.of(layer)]
    return Standing(
        layer,
        _mean(tasks, layer) if len(tasks) == len(comparison.tasks) else None,
        {task.task: _of_task(task, layer) for task in tasks},
        sum(run.state_bytes for run in runs) / len(runs),
        _known([run.step_us for run in runs]),
        _known([run.train_us for run in runs]),
    )


def _of_task(task: Results, layer: str) -> Score:
    runs = task.of(layer)
    scores = [sum(row.score for row in run.rows) / len(run.rows) for run in runs]
    return over_seeds(scores, None, None)


def _mean(tasks: list[Results], layer: str) -> Score:
    """The interval is over the seeds that every task has: of each, the mean over tasks."""
    each = [{run.seed: above_chance(run) for run in task.of(layer)} for task in tasks]
    seeds = sorted(set.intersection(*(set(of) for of in each)))
    if not seeds:
        return Score(sum(sum(of.values()) / len(of) for of in each) / len(each))
    return over_seeds([sum(of[seed] for of in each) / len(each) for seed in seeds], None, None)


def _known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
