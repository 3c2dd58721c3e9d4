"""A budget in seconds or tokens as steps: counted out before a run, since its learning rate follows
a schedule that ends with it."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from ramgru import files
from ramgru.lab.compare.runs import run_name
from ramgru.lab.train import log
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.loop import train
from ramgru.lab.train.run import LOG

FILE = "budget.json"
EVALUATIONS = 8  # in the course of a run
_WARM, _TIMED = 5, 20  # steps that are not timed (first calls are slow), and steps that are


def with_steps(training: TrainConfig, steps: int) -> TrainConfig:
    """The same run with so many steps, and an evaluation after each eighth of them."""
    return replace(training, steps=steps, steps_per_epoch=math.ceil(steps / EVALUATIONS))


def steps_of_tokens(training: TrainConfig, tokens: int) -> int:
    """How many steps of this run read about so many tokens, at the sizes of the task itself."""
    batch = training.task.draw(training.batch_size, seed=0)
    return max(1, round(tokens / int(batch.lengths.sum())))


def steps_of(training: TrainConfig, folder: Path, seconds: float) -> int:
    """The steps of a run: as it says, or as many as fit in `seconds`, which is measured once."""
    if not seconds:
        return training.steps
    timed = with_steps(training, _WARM + _TIMED)
    key = f"{seconds:g} s of {run_name(timed)}"
    path = folder / FILE
    known: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if key not in known:
        with tempfile.TemporaryDirectory() as temporary:
            short = replace(
                timed,
                out=Path(temporary, "run"),
                log_every=1,
                steps_per_epoch=_WARM + _TIMED,
                evaluate_examples=1,
                curriculum=False,  # the full size, which is the most that a step can cost
                target=None,
            )
            train(short, quiet=True)
            events = log.read(Path(temporary, "run", LOG))
        times = [event["seconds"] for event in events if event["event"] == "step"]
        each = (times[-1] - times[_WARM - 1]) / (len(times) - _WARM)
        known[key] = max(1, round(seconds / max(each, 1e-6)))
        files.write_json(path, known)
    return known[key]
