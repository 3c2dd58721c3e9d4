"""The learning rate of a layer: rates are tried in turn and pruned when they fall behind (Optuna).

The pruner is successive halving by held-out loss (Li et al., "A system for massively parallel
hyperparameter tuning", arXiv 1810.05934). Finished runs are read back from their logs, so the same
command makes the same choice.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ramgru.errors import RamgruError
from ramgru.lab.compare import budget, runs
from ramgru.lab.compare.results import Trial
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import log
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.run import LOG

REDUCTION = 2  # half of the rates reach the next rung


@dataclass(frozen=True)
class Tuned:
    """The best rate, the steps of a run, and all rates that were tried."""

    lr: float
    steps: int
    rates: list[Trial]


@contextlib.contextmanager
def quiet_optuna() -> Iterator[None]:
    """Log Optuna's errors alone."""
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(level)


def tune(
    trainings: Sequence[TrainConfig],
    effort: Effort,
    folder: Path,
    seconds: float,
    *,
    quiet: bool = True,
) -> Tuned:
    """Train with each rate until its end or until it is pruned, in directories of `folder`.

    trainings: equal but for their rates. effort: of the evaluation, as a part of the runs' names.
    seconds: a budget that replaces the steps; 0: keep the steps.
    Raises RamgruError if every rate fails, runs.Interrupted if a signal stopped training.
    """
    steps = budget.steps_of(trainings[0], folder, seconds)
    trainings = [budget.with_steps(training, steps) for training in trainings]
    if len(trainings) == 1:
        return Tuned(trainings[0].lr, steps, [])
    import optuna  # a single rate needs neither tuning nor the extra

    with quiet_optuna():
        study = optuna.create_study(
            sampler=optuna.samplers.RandomSampler(seed=0),
            pruner=optuna.pruners.SuccessiveHalvingPruner(
                min_resource=max(1, steps // 4), reduction_factor=REDUCTION
            ),
        )
        tried = [
            _try(study, training, folder / runs.run_name(training, effort), quiet)
            for training in trainings
        ]
    # The best metric; among equals the lowest loss, then the first rate.
    ended = [rate for rate in tried if rate.loss is not None and not rate.given_up]
    if not ended:
        raise RamgruError(f"no learning rate among {[t.lr for t in trainings]} has a finite loss")
    best = max(ended, key=lambda rate: (rate.metric or 0.0, -(rate.loss or math.inf)))
    rates = [replace(rate, chosen=rate is best) for rate in tried]
    return Tuned(best.lr, steps, rates)


def _try(study: Any, training: TrainConfig, path: Path, quiet: bool) -> Trial:
    """Train with one rate, to its end or until it is pruned."""
    from optuna.trial import TrialState

    trial, metric, known = study.ask(), training.task.metric, -1
    layer: str = training.model.layer

    def pruned(step: int, score: float, loss: float) -> bool:
        nonlocal known
        if step <= known or step >= training.steps:
            return False
        known = step
        trial.report(loss, step)
        return bool(trial.should_prune())

    for event in log.read(path / LOG) if (path / LOG).exists() else []:
        score, loss = event.get(metric), event.get("loss")
        if event["event"] != "evaluate" or score is None or loss is None:
            continue
        if pruned(event["step"], score, loss):
            study.tell(trial, state=TrialState.PRUNED)
            return Trial(layer, training.lr, score, loss, event["step"], given_up=True)
    try:
        runs.trained(training, path, quiet=quiet, watch=pruned)
    except runs.Interrupted:
        raise
    except RamgruError:
        study.tell(trial, state=TrialState.FAIL)
        return Trial(layer, training.lr, None, None, max(0, known))
    score, loss = runs.held_out(path, metric)
    finished = runs.finished(path)
    study.tell(trial, loss if finished else None, None if finished else TrialState.PRUNED)
    last = log.read(path / LOG)[-1]["step"]
    return Trial(layer, training.lr, score, loss, last, given_up=not finished)
