"""The pieces of work that a comparison or a study is made of, as JSON values in and out.

    {"work": "tune",  "trainings": [TrainConfig …], "effort": Effort, "seconds": 0,
     "folder": "…"} -> Tuned
    {"work": "run",   "training": TrainConfig, "effort": Effort, "folder": "…"} -> {"run": Run}
    {"work": "point", the same} -> {"run": Run, "cost": Cost}

What of it was done before is reused.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.compare import runs, tuning
from ramgru.lab.compare.levers import cost
from ramgru.lab.compare.results import Run
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import layers, log
from ramgru.lab.train.configfile import from_dict
from ramgru.lab.train.run import LOG, load_run, locked

COST = "cost.json"
PATIENCE = 60.0  # seconds in which a former owner of a run has to let go of it


def do(job: Mapping[str, Any], *, quiet: bool = True) -> dict[str, Any]:
    """One piece of work. Raises RamgruError where it fails, runs.Interrupted where it was told to
    stop."""
    folder, effort = Path(job["folder"]), Effort(**job["effort"])
    if job["work"] == "tune":
        trainings = [from_dict(values) for values in job["trainings"]]
        layers.import_own(trainings[0].model.layer)
        return asdict(tuning.tune(trainings, effort, folder, job["seconds"], quiet=quiet))
    training = from_dict(job["training"])
    layers.import_own(training.model.layer)
    wait_for(folder)
    runs.trained(training, folder, quiet=quiet)
    measured = runs.measured(folder, training, effort)
    done = {"run": asdict(measured)}
    return {**done, "cost": _cost(folder, measured)} if job["work"] == "point" else done


def _cost(folder: Path, run: Run) -> dict[str, Any]:
    path = folder / COST
    if not path.exists():
        config, task, model = load_run(folder)
        sizes = {tuple(point.axes.items()): point.task for point in task.grid()}
        found = cost.measure(
            model,
            task.draw(config.batch_size, seed=0),
            [sizes[tuple(row.axes.items())] for row in run.rows],
            log.read(folder / LOG),
        )
        files.write_json(path, asdict(found))
    values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return values


def wait_for(folder: Path) -> None:
    """Until nobody writes the run: the worker of a study that was killed may still save it."""
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with locked(folder):
                return
        except RamgruError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)
