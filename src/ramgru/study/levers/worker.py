"""A process that makes runs, one after the other: a JSON line asks for one, a JSON line answers.

    {"training": TrainConfig, "effort": Effort, "folder": "…"}
    -> {"run": Run, "cost": Cost}, {"error": "…"} or {"interrupted": "…"}

It ends when its standard input does, which is also when the process that asks is killed: a run
that is being trained is then saved at the end of its step, so that nobody writes it twice.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.evaluate import Effort
from ramgru.study import runs
from ramgru.study.levers import cost
from ramgru.study.results import Run
from ramgru.train import log
from ramgru.train.config import TrainConfig
from ramgru.train.configfile import from_dict
from ramgru.train.run import LOG, load_run, locked

COST = "cost.json"
PATIENCE = 60.0  # seconds in which a former owner of a run has to let go of it


def make(training: TrainConfig, effort: Effort, folder: Path) -> dict[str, Any]:
    """One run, trained, evaluated and measured; what of it was done before is reused."""
    _wait_for(folder)
    runs.trained(training, folder, quiet=True)
    measured = runs.measured(folder, training, effort)
    return {"run": asdict(measured), "cost": _cost(folder, measured)}


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


def _wait_for(folder: Path) -> None:
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


def answer(line: str) -> dict[str, Any]:
    """What is said to one line that asks."""
    job = json.loads(line)
    try:
        return make(from_dict(job["training"]), Effort(**job["effort"]), Path(job["folder"]))
    except runs.Interrupted as error:
        return {"interrupted": str(error)}
    except Exception as error:  # one point that fails must not end the others
        if not isinstance(error, RamgruError | ValueError):
            traceback.print_exc()
        return {"error": f"{type(error).__name__}: {error}"}


def main() -> None:
    """Answer lines until there are no more, or until a run is interrupted."""
    lines: queue.Queue[str | None] = queue.Queue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    out = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # what libraries print is no answer
        while (line := lines.get()) is not None:
            said = answer(line)
            with contextlib.suppress(BrokenPipeError):
                print(json.dumps(said), file=out, flush=True)
            if "interrupted" in said:
                break


def _listen(lines: queue.Queue[str | None]) -> None:
    for line in sys.stdin:
        lines.put(line)
    lines.put(None)
    os.kill(os.getpid(), signal.SIGTERM)  # a run that is being trained takes it as a wish to stop


if __name__ == "__main__":
    main()
