"""A budget in seconds as steps: measured over a few steps before a run, and kept for going on.

A run needs its number of steps before it begins, since its learning rate follows a schedule.
"""

from __future__ import annotations

import json
import tempfile
from dataclasses import replace
from pathlib import Path

from ramgru import files
from ramgru.study.config import CompareConfig, Layer
from ramgru.study.runs import run_name
from ramgru.train import log
from ramgru.train.run import LOG
from ramgru.train.start import train

FILE = "budget.json"
_WARM, _TIMED = 5, 20  # steps that are not timed (first calls are slow), and steps that are


def steps_of(config: CompareConfig, layer: Layer) -> int:
    """The steps of each run of a layer: as the options say, or as many as fit in `seconds`."""
    if not config.seconds:
        return config.steps
    training = config.training(layer, config.rates(layer)[0], config.seeds[0], _WARM + _TIMED)
    key = f"{config.seconds:g} s of {run_name(training, config.effort)}"
    path = config.folder / FILE
    known: dict[str, int] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if key not in known:
        with tempfile.TemporaryDirectory() as folder:
            short = replace(
                training,
                out=Path(folder, "run"),
                log_every=1,
                steps_per_epoch=_WARM + _TIMED,
                evaluate_examples=1,
                curriculum=False,  # the full size, which is the most that a step can cost
                target=None,
            )
            train(short, quiet=True)
            events = log.read(Path(folder, "run", LOG))
        seconds = [event["seconds"] for event in events if event["event"] == "step"]
        each = (seconds[-1] - seconds[_WARM - 1]) / (len(seconds) - _WARM)
        known[key] = max(1, round(config.seconds / max(each, 1e-6)))
        files.write_json(path, known)
    return known[key]
