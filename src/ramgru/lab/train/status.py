"""Runs on a disk: what each trains, how far it is, and whether a process still writes it."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.train import log
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.run import CHECKPOINT, CONFIG, LOG, WEIGHTS, InUse, is_run, locked

RUNNING, FINISHED, INTERRUPTED, BROKEN = "running", "finished", "interrupted", "unreadable"
_NO_METRIC = {"event", "step", "seconds", "epoch", "loss", "stage"}


@dataclass(frozen=True)
class Status:
    """One run.

    step, steps: optimizer steps done, as far as the log tells, and at most
    metric:      the name of `score`, which is the last one on held-out data; "" without one
    when:        time of the last line of the log, in seconds since 1970
    state:       "running", "finished" or "interrupted"; "unreadable" if a file is damaged
    """

    run: Path
    task: str
    layer: str
    step: int
    steps: int
    metric: str
    score: float | None
    when: float
    state: str


def runs(root: Path) -> Iterator[Status]:
    """Every run below a directory, and one that is the directory itself."""
    for path in sorted(root.glob(f"**/{CONFIG}")):
        run = path.parent
        if (run / LOG).exists() and is_run(run):
            try:
                yield status(run)
            except (RamgruError, OSError, KeyError, TypeError, ValueError):
                when = (run / LOG).stat().st_mtime
                yield Status(run, "", "", 0, 0, "", None, when, BROKEN)


def status(run: Path) -> Status:
    """The status of a run. Its layer need not be known here.

    Raises RamgruError if its log cannot be read, KeyError or TypeError if its configuration cannot.
    """
    config: dict[str, Any] = files.read_json(run / CONFIG)
    events = log.read(run / LOG)
    known = [event for event in events if event.get("event") == "evaluate"]
    last = known[-1] if known else {}
    metric = next((k for k in last if k not in _NO_METRIC and not k.startswith("stage ")), "")
    ended = any(event.get("event") == "end" for event in events)
    state = RUNNING if in_use(run) else FINISHED if ended else INTERRUPTED
    return Status(
        run,
        config["task"]["name"],
        config["model"]["layer"],
        max((event["step"] for event in events if "step" in event), default=0),
        config["epochs"] * config["steps_per_epoch"] or config["steps"],
        metric,
        last.get(metric),
        (run / LOG).stat().st_mtime,
        state,
    )


def has_memory(run: Path) -> bool:
    """Whether `ramgru inspect` can show a run: its model is there, and of layer ramgru."""
    if not ((run / WEIGHTS).exists() or (run / CHECKPOINT).exists()):
        return False
    try:
        return read_config(run / CONFIG).model.name == "ramgru"
    except RamgruError:  # a file is damaged, or names a layer that is not imported
        return False


def in_use(folder: Path) -> bool:
    """Whether another process writes a directory."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a file system without locks
        try:
            with locked(folder):
                return False
        except InUse:
            return True
