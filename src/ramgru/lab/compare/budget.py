"""A budget in seconds or tokens, converted into steps before a run: the learning rate follows a
schedule over a known number of steps."""

from __future__ import annotations

import math
import tempfile
from dataclasses import replace
from pathlib import Path

from ramgru import files
from ramgru.lab.compare.runs import Interrupted, run_name
from ramgru.lab.train import log
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.loop import train
from ramgru.lab.train.run import LOG

FILE = "budget.json"
EVALUATIONS = 8  # of a run
_WARM, _TIMED = 5, 20  # steps of the warm-up and of the measurement


def with_steps(training: TrainConfig, steps: int) -> TrainConfig:
    """The same run with this many steps, and an evaluation after each eighth."""
    return replace(training, steps=steps, steps_per_epoch=math.ceil(steps / EVALUATIONS))


def steps_of_tokens(training: TrainConfig, tokens: int) -> int:
    """The steps of this run that train on about this many tokens, at the task's full size."""
    batch = training.task.draw(training.batch_size, seed=0)
    return max(1, round(tokens / int(batch.lengths.sum())))


def steps_of(training: TrainConfig, folder: Path, seconds: float) -> int:
    """The steps of a run, or the steps that fit in `seconds`, which are measured once."""
    if not seconds:
        return training.steps
    timed = with_steps(training, _WARM + _TIMED)
    key = f"{seconds:g} s of {run_name(timed)}"
    path = folder / FILE
    try:
        known: dict[str, int] = files.read_json(path, with_digest=True)
    except (OSError, ValueError):  # missing or broken: measured again
        known = {}
    if key not in known:
        each = seconds_a_step(training, _WARM, _TIMED)
        known[key] = max(1, round(seconds / max(each, 1e-6)))
        files.write_json(path, known, with_digest=True)
    return known[key]


def seconds_a_step(training: TrainConfig, warm: int, timed: int) -> float:
    """The mean time of a few steps of a run at its full size, after some that warm up.

    Raises Interrupted if a signal asked to stop.
    """
    with tempfile.TemporaryDirectory() as temporary:
        short = replace(
            training,
            out=Path(temporary, "run"),
            steps=warm + timed,
            log_every=1,
            steps_per_epoch=warm + timed,
            evaluate_examples=1,
            curriculum=False,  # the full size is the most expensive one
            target=None,
            snapshots=0,
        )
        outcome = train(short, quiet=True)
        if outcome.reason == "interrupted":
            raise Interrupted("interrupted; the same command begins again", outcome.signal)
        events = log.read(Path(temporary, "run", LOG))
    times = [event["seconds"] for event in events if event["event"] == "step"]
    return float(times[-1] - times[warm - 1]) / timed
