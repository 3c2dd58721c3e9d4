"""Which learning rate a layer gets: those that fall behind on the way are given up (Optuna).

Successive halving (Li et al., "A system for massively parallel hyperparameter tuning", arXiv
1810.05934), by the held-out loss, one rate after the other. What was trained before is read back
from the runs' logs, so that the same command comes to the same choice.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ramgru.errors import RamgruError
from ramgru.lab.compare import budget, runs
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import log
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.run import LOG

REDUCTION = 2  # one rate in so many goes on from a rung to the next


@dataclass(frozen=True)
class Rate:
    """A learning rate that was tried: the held-out metric and loss where it ended, and the step.

    metric, loss: None where the loss became infinite. given_up: before its end, being behind.
    """

    lr: float
    metric: float | None
    loss: float | None
    step: int
    given_up: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Tuned:
    """The rate to take, the steps of a run, and all rates that were tried."""

    lr: float
    steps: int
    rates: list[Rate]


def tune(
    trainings: Sequence[TrainConfig],
    effort: Effort,
    folder: Path,
    seconds: float,
    *,
    quiet: bool = True,
) -> Tuned:
    """Train with each rate, as long as it is worth it, in directories of `folder`.

    trainings: equal but for their rates. effort: of their evaluation, which
    is not made here. seconds: of a run, instead of its steps; 0: as they say.
    Raises RamgruError where all of them fail, runs.Interrupted where training was.
    """
    steps = budget.steps_of(trainings[0], folder, seconds)
    trainings = [budget.with_steps(training, steps) for training in trainings]
    if len(trainings) == 1:
        return Tuned(trainings[0].lr, steps, [])
    import optuna  # one rate needs no tuning, and no extra

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.create_study(
            direction="minimize",
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(1, steps // 4), reduction_factor=REDUCTION
            ),
        )
        tried = [
            _try(study.ask(), study, training, folder / runs.run_name(training, effort), quiet)
            for training in trainings
        ]
    finally:
        optuna.logging.set_verbosity(level)
    # the best metric; of equals the lower loss, then the rate that stands first
    ended = [rate for rate in tried if rate.loss is not None and not rate.given_up]
    if not ended:
        raise RamgruError(f"no learning rate among {[t.lr for t in trainings]} has a finite loss")
    best = max(ended, key=lambda rate: (rate.metric or 0.0, -(rate.loss or math.inf)))
    rates = [replace(rate, chosen=rate is best) for rate in tried]
    return Tuned(best.lr, steps, rates)


def _try(trial, study, training: TrainConfig, path: Path, quiet: bool) -> Rate:  # type: ignore[no-untyped-def]
    """One rate, to its end or until it is given up."""
    from optuna.trial import TrialState

    metric, known = training.task.metric, -1

    def given_up(step: int, score: float, loss: float) -> bool:
        nonlocal known
        if step <= known or step >= training.steps:
            return False
        known = step
        trial.report(loss, step)
        return bool(trial.should_prune())

    for event in log.read(path / LOG) if (path / LOG).exists() else []:
        score, loss = event.get(metric), event.get("loss")
        if event["event"] != "evaluate":
            continue
        if score is not None and loss is not None and given_up(event["step"], score, loss):
            study.tell(trial, state=TrialState.PRUNED)
            return Rate(training.lr, score, loss, event["step"], given_up=True)
    try:
        runs.trained(training, path, quiet=quiet, watch=given_up)
    except runs.Interrupted:
        raise
    except RamgruError:
        study.tell(trial, state=TrialState.FAIL)
        return Rate(training.lr, None, None, max(0, known))
    score, loss = runs.held_out(path, metric)
    finished = runs.finished(path)
    if finished:
        study.tell(trial, loss)
    else:
        study.tell(trial, state=TrialState.PRUNED)
    return Rate(training.lr, score, loss, log.read(path / LOG)[-1]["step"], not finished)
