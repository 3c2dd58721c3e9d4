"""One run of a comparison: trained, resumed, or reused if it is finished.

The name of a run's directory holds a digest of every option, so runs with other options get other
directories and no run is overwritten.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import DataError, RamgruError
from ramgru.lab.compare.costs import costs
from ramgru.lab.compare.results import Run, curve_of, read_evaluation
from ramgru.lab.evaluate import Effort, EvaluateConfig, evaluate
from ramgru.lab.spec import slug
from ramgru.lab.train import log
from ramgru.lab.train.build import build_model, count_parameters
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.configfile import read_config, to_dict
from ramgru.lab.train.loop import Watch, train
from ramgru.lab.train.run import CONFIG, LOG, WEIGHTS, load_run

EVALUATION, COSTS = "evaluation.json", "costs.json"
_APART = ("out", "resume", "snapshots")  # options that do not change what a run learns


class Interrupted(RamgruError):
    """A signal stopped a run before its end; the run is saved and can be resumed."""

    def __init__(self, message: str, signal: int | None = None) -> None:
        super().__init__(message)
        self.signal = signal


def run_name(config: TrainConfig, effort: Effort | None = None) -> str:
    """TASK-LAYER-lrRATE-seedSEED-DIGEST. effort: of the evaluation, if the digest covers it too."""
    what = [_what(config), None if effort is None else effort.__dict__]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    what_for = f"{config.task.name}-{slug(config.model.layer)}"
    return f"{what_for}-lr{config.lr:g}-seed{config.seed}-{digest[:8]}"


def is_run_name(name: str) -> bool:
    """Whether `run_name` could have made a name."""
    return re.fullmatch(r".+-lr[\d.e+-]+-seed\d+-[0-9a-f]{8}", name) is not None


def _what(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in to_dict(config).items() if name not in _APART}


def finished(folder: Path) -> bool:
    """Whether the training of a run has ended."""
    if not (folder / LOG).exists() or not (folder / WEIGHTS).exists():
        return False
    return any(event.get("event") == "end" for event in log.read(folder / LOG))


def trained(
    config: TrainConfig, folder: Path, *, quiet: bool = False, watch: Watch | None = None
) -> bool:
    """Train the run in `folder` to its end, or resume it; -> whether it was not finished before.

    watch: called after each evaluation; may stop the run early (`ramgru.lab.train.train`).
    Raises RamgruError if the folder holds another run, Interrupted if a signal stopped training.
    """
    begun = (folder / CONFIG).exists()
    if begun and _what(read_config(folder / CONFIG)) != _what(config):
        raise RamgruError(
            f"{folder} holds a run whose options differ from those of its name; move it away"
        )
    if finished(folder):
        return False
    config = replace(config, out=folder, resume=folder if begun else None)
    outcome = train(config, quiet=quiet, watch=watch)
    if outcome.reason == "interrupted":
        raise Interrupted(
            f"interrupted at step {outcome.step:,} of {folder.name}; the same command resumes it",
            outcome.signal,
        )
    return True


def measured(folder: Path, config: TrainConfig, effort: Effort) -> Run:
    """A finished run with its evaluation and costs, which are measured if missing."""
    sizes = [dict(point.axes) for point in config.task.grid() if effort.allows(point)]
    try:
        head, rows, distance = read_evaluation(folder / EVALUATION)
        known = [row.axes for row in rows] == sizes
    except DataError:
        known = False
    if not known:
        asked = EvaluateConfig(folder, effort=effort, threads=config.threads, device=config.device)
        evaluate(asked, quiet=True)
        head, rows, distance = read_evaluation(folder / EVALUATION)
    events = log.read(folder / LOG)
    end = next(event for event in reversed(events) if event.get("event") == "end")
    layer: str = config.model.layer
    return Run(
        name=folder.name,
        task=config.task.name,
        layer=layer,
        seed=config.seed,
        lr=config.lr,
        parameters=count_parameters(build_model(config.model, config.task)),
        state_bytes=head["state_bytes"],
        steps=int(end["step"]),
        seconds=float(end["seconds"]),
        curve=curve_of(events, layer, config.seed, head["metric"]),
        rows=rows,
        distance=distance,
        **_costs(folder, config, events),
    )


def _costs(
    folder: Path, config: TrainConfig, events: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    path = folder / COSTS
    try:
        values: dict[str, Any] = files.read_json(path, with_digest=True)
    except (OSError, ValueError):  # missing or broken: measured again
        _, task, model = load_run(folder)
        values = costs(model, task.draw(config.batch_size, seed=0), events)
        files.write_json(path, values, with_digest=True)
    return values


def held_out(folder: Path, metric: str) -> tuple[float, float]:
    """The last held-out metric and loss in a run's log, by which a learning rate is chosen."""
    for event in reversed(log.read(folder / LOG)):
        if event.get("event") == "evaluate" and event.get("loss") is not None:
            return float(event[metric]), float(event["loss"])
    raise DataError(f"{folder / LOG} holds no evaluation")
