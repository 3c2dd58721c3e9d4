"""The models beside a trained one: its own earlier weights, and an nn.GRU of the same task."""

from __future__ import annotations

import contextlib
from functools import partial
from pathlib import Path

import torch

from ramgru.errors import CheckpointError
from ramgru.lab.show.story import Moment
from ramgru.lab.show.theme import look
from ramgru.lab.train import checkpoint, run, snapshots
from ramgru.lab.train.build import build_model
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.configfile import read_config
from ramgru.sequence import SequenceModel


def moments(folder: Path, config: TrainConfig, trained: SequenceModel) -> list[Moment]:
    """The run's model before the first step, at each of its snapshots, and at its end."""
    last = _last_step(folder, config)
    found = [Moment(0, partial(_untrained, config))]
    for step, path in snapshots.kept(folder).items():
        if step < last:
            found.append(Moment(step, partial(_earlier, config, path)))
    return [*found, Moment(last, lambda: trained)]


def _last_step(folder: Path, config: TrainConfig) -> int:
    with contextlib.suppress(CheckpointError):
        return int(checkpoint.load(folder / run.CHECKPOINT)[1]["step"])
    return config.total_steps


def _untrained(config: TrainConfig) -> SequenceModel:
    """The weights that the run began with: they follow from its seed."""
    with torch.random.fork_rng():
        torch.manual_seed(config.seed)
        return build_model(config.model, config.task).eval()


def _earlier(config: TrainConfig, path: Path) -> SequenceModel:
    model = build_model(config.model, config.task)
    run.fill(model, snapshots.load(path), path)
    return model.eval()


def rival_of(
    folder: Path, config: TrainConfig, beside: Path | None = None
) -> tuple[str, SequenceModel] | None:
    """The name and the model of the run `beside`, or else of the newest nn.GRU of the same task in
    the folder of the run; None if there is none.

    Raises CheckpointError: `beside` is no run. ValueError: it is a run of another task.
    """
    if beside is not None:
        other, task, model = run.load_run(beside)
        if task != config.task:
            raise ValueError(
                f"beside: expected a run of the same task and sizes, got {beside}, a run of {task}"
            )
        return look(other.model.layer).label, model
    found = sorted(folder.parent.glob(f"*/{run.CONFIG}"), key=lambda p: -p.stat().st_mtime_ns)
    for path in found:
        with contextlib.suppress(CheckpointError):  # a foreign file, or an unfinished run
            other = read_config(path)
            if other.model.name == "gru" and other.task == config.task:
                return look(other.model.layer).label, run.load_run(path.parent)[2]
    return None
