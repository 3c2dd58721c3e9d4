"""One run of a comparison: trained, or gone on with, or reused where it is finished and equal.

A run's directory is named by what it is (layer, rate, seed) and a digest of every option, so that
another budget or task makes another directory and nothing that was trained is ever written over.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import DataError, RamgruError
from ramgru.lab.compare.results import Run, curve_of, read_evaluation
from ramgru.lab.compare.speed import step_us, train_us
from ramgru.lab.evaluate import Effort, EvaluateConfig, evaluate
from ramgru.lab.spec import slug
from ramgru.lab.train import log
from ramgru.lab.train.build import build_model, count_parameters
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.configfile import read_config, to_dict
from ramgru.lab.train.loop import Watch, train
from ramgru.lab.train.run import CONFIG, LOG, WEIGHTS, load_run

EVALUATION, SPEED = "evaluation.json", "speed.json"
_PLACE = ("out", "resume")  # where a run is, not what it is


class Interrupted(RamgruError):
    """A run was asked to stop before its end; it is saved and can be gone on with."""


def run_name(config: TrainConfig, effort: Effort | None = None) -> str:
    """TASK-LAYER-lrRATE-seedSEED-DIGEST. effort: of its evaluation, where the name tells it too."""
    what = [_what(config), None if effort is None else effort.__dict__]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    what_for = f"{config.task.name}-{slug(config.model.layer)}"
    return f"{what_for}-lr{config.lr:g}-seed{config.seed}-{digest[:8]}"


def _what(config: TrainConfig) -> dict[str, Any]:
    return {name: value for name, value in to_dict(config).items() if name not in _PLACE}


def finished(folder: Path) -> bool:
    """Whether a run was trained to its end."""
    if not (folder / LOG).exists() or not (folder / WEIGHTS).exists():
        return False
    return any(event.get("event") == "end" for event in log.read(folder / LOG))


def trained(
    config: TrainConfig, folder: Path, *, quiet: bool = False, watch: Watch | None = None
) -> bool:
    """Bring the run in `folder` to its end; -> whether there was anything to do.

    watch: may give it up on the way, as in `ramgru.lab.train.train`.

    Raises RamgruError where another run is in the way, Interrupted where training was.
    """
    begun = (folder / CONFIG).exists()
    if begun and _what(read_config(folder / CONFIG)) != _what(config):
        raise RamgruError(
            f"{folder} holds a run with other options than its name says; move it away"
        )
    if finished(folder):
        return False
    config = replace(config, out=folder, resume=folder if begun else None)
    outcome = train(config, quiet=quiet, watch=watch)
    if outcome.reason == "interrupted":
        raise Interrupted(
            f"interrupted at step {outcome.step:,} of {folder.name}; the same command goes on there"
        )
    return True


def measured(folder: Path, config: TrainConfig, effort: Effort) -> Run:
    """A finished run with its evaluation, which is made where it is not there yet."""
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
    speed = _speed(folder, config, events)
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
        **speed,
    )


def _speed(
    folder: Path, config: TrainConfig, events: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    path = folder / SPEED
    if not path.exists():
        _, task, model = load_run(folder)
        batch = task.draw(config.batch_size, seed=0)
        files.write_json(
            path,
            {
                "step_us": step_us(model, batch),
                "train_us": train_us(events, int(batch.lengths.sum())),
            },
        )
    values: dict[str, float | None] = json.loads(path.read_text(encoding="utf-8"))
    return values


def held_out(folder: Path, metric: str) -> tuple[float, float]:
    """The last held-out metric and loss in a run's log: what a learning rate is chosen by."""
    for event in reversed(log.read(folder / LOG)):
        if event.get("event") == "evaluate" and event.get("loss") is not None:
            return float(event[metric]), float(event["loss"])
    raise DataError(f"{folder / LOG} holds no evaluation")
