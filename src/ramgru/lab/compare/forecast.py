"""How long a comparison will take, from two steps of each layer, timed before it begins."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ramgru.lab.compare import budget
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.compare.runs import Interrupted, finished, run_name
from ramgru.lab.tasks.base import Task, is_asked
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.log import place
from ramgru.lab.train.parallel import pick_device

WARM, TIMED = 1, 2  # steps
FORWARD = 1 / 3  # of the time of a train step, which also goes backward


def text(config: CompareConfig) -> str:
    """Where a comparison computes and lies, how much it does, and how long that takes."""
    cells = _cells(config)
    every = [run for runs in cells for run in runs]
    left = [[run for run in runs if not _is_finished(run, config)] for runs in cells]
    to_do = sum(map(len, left))
    threads = config.threads or (1 if config.jobs > 1 else torch.get_num_threads())
    where = place(str(pick_device(config.device)), threads)
    where += f" each, {config.jobs} runs at a time" if config.jobs > 1 else ""
    budget_of = f"{config.seconds:g} s" if config.seconds else f"{every[0].steps:,} steps"
    done = f", {len(every) - to_do} of them done before" if to_do < len(every) else ""
    parts = [
        where,
        str(config.folder),
        f"{len(every)} run{'s' * (len(every) > 1)} of {budget_of}{done}",
        "lr " + " ".join(f"{rate:g}" for rate in config.lr),
    ]
    try:
        seconds = _seconds(config, [runs for runs in left if runs])
    except Interrupted:
        raise
    except Exception:  # of a layer that will fail, which its own run then says
        seconds = None
    if to_do and seconds is not None:
        parts.append(f"about {duration(seconds)}")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, rounded as a forecast may be."""
    if seconds < 90:
        return f"{max(10, round(seconds / 10) * 10)} seconds"
    if seconds < 90 * 60:
        return f"{round(seconds / 60)} minutes"
    return f"{round(seconds / 3600)} hours"


def _cells(config: CompareConfig) -> list[list[TrainConfig]]:
    """The runs of each layer on each task: the first seed at every rate, then the other seeds."""
    return [
        [config.training(task, layer, lr, config.seeds[0], config.steps) for lr in config.lr]
        + [config.training(task, layer, config.lr[0], s, config.steps) for s in config.seeds[1:]]
        for task in config.tasks
        for layer in config.contenders
    ]


def _is_finished(run: TrainConfig, config: CompareConfig) -> bool:
    return finished(config.folder / run_name(run, config.effort))


def _seconds(config: CompareConfig, left: Sequence[Sequence[TrainConfig]]) -> float:
    """Of all runs that are left of each layer on each task, trained and evaluated."""
    total = 0.0
    for runs in left:
        task, first = runs[0].task, runs[0]
        each = budget.seconds_a_step(first, WARM, TIMED)
        token = each / int(task.draw(first.batch_size, seed=0).lengths.sum())
        measured = FORWARD * token * _tokens(task, config)
        # A run measures itself on held-out data, too.
        epochs = math.ceil(first.steps / first.steps_per_epoch)
        held_out = FORWARD * each * epochs * first.evaluate_examples / first.batch_size
        training = config.seconds or each * first.steps
        total += len(runs) * (training + held_out + measured)
    return total / min(config.jobs, len(config.contenders) * len(config.tasks))


def _tokens(task: Task, config: CompareConfig) -> int:
    """Steps of all sequences of an evaluation."""
    total = 0
    for point in task.grid():
        if config.effort.allows(point):
            batch = point.task.draw(1, seed=0)
            asked = max(1, int(is_asked(batch.labels).sum()))
            rows = max(config.effort.examples, math.ceil(config.effort.questions / asked))
            total += rows * int(batch.lengths[0])
    return total
