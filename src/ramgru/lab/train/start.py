"""From a TrainConfig to a finished run: its folder, its processes, its end."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import configfile, run
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.loop import Trainer, Watch
from ramgru.lab.train.parallel import make_accelerator
from ramgru.lab.train.signals import Interruption

if TYPE_CHECKING:
    from accelerate import Accelerator


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    run:    its directory
    step:   optimizer steps made
    reason: "steps" (the limit), "target", "patience", "interrupted" (by `signal`), or
            "given up" (by `watch`)
    score:  the best held-out metric; None where nothing was evaluated
    """

    run: Path
    step: int
    reason: str
    score: float | None
    signal: int | None = None


def train(config: TrainConfig, *, quiet: bool = False, watch: Watch | None = None) -> Outcome:
    """Train as `config` says and write the run directory.

    The global generators of python, numpy and torch are seeded with `config.seed`. SIGINT and
    SIGTERM finish the step, save and return. watch: see `Watch`; a run that is given up can be gone
    on with. Under torchrun every process calls this.

    Raises ValueError for options that do not fit together or a directory that is in use,
    RamgruError where a file cannot be written or the loss is no longer finite.
    """
    config = replace(config, task=source(config))
    if config.threads:
        torch.set_num_threads(config.threads)
    with Interruption() as wish:
        accelerator = make_accelerator(config)
        folder = _folder(config, accelerator)
        config = replace(config, out=folder)
        with run.locked(folder, wanted=accelerator.is_main_process):
            if accelerator.is_main_process:
                run.sweep_up(folder)
            try:
                trainer = Trainer(config, folder, accelerator, quiet=quiet)
            except Exception:
                if accelerator.is_main_process and config.resume is None:
                    run.discard(folder)
                raise
            if accelerator.is_main_process and config.resume is not None:
                # Not before: a refused option must not stay behind in the run.
                configfile.write_config(folder / run.CONFIG, config)
            try:
                reason = trainer.train(wish, watch)
            finally:
                trainer.close()
    best = trainer.stop.state_dict()["best_score"]
    return Outcome(folder, trainer.step, reason, best, wish.signal)


def source(config: TrainConfig, **options: Any) -> Task:
    """The task that `config` trains on: its file, its text, or its task as it is.

    options: of the task that reads the file, beside its path
    """
    path = config.data or config.text
    if path is None:
        return config.task
    name = "file" if config.data else "tokens" if path.suffix == ".npy" else "text"
    if config.task.name == name and Path(config.task.options()["path"]) == path.resolve():
        return config.task  # with options of its own
    return tasks.get(name, path=str(path.resolve()), **options)


def _folder(config: TrainConfig, accelerator: Accelerator) -> Path:
    """The run's directory, the same on every process, with config.json in it."""
    from accelerate.utils import broadcast_object_list

    chosen: list[Path | Exception] = [Path()]
    if accelerator.is_main_process:
        try:
            chosen = [_prepare(config)]
        except (ValueError, RamgruError, OSError) as error:
            chosen = [error]  # all processes must end, not the main one alone
    broadcast_object_list(chosen)
    if isinstance(chosen[0], Exception):
        raise chosen[0]
    return chosen[0]


def _prepare(config: TrainConfig) -> Path:
    folder = config.resume or config.out or run.default_folder(config)
    there = (folder / run.CONFIG).exists()
    if config.resume is not None and not there:
        raise CheckpointError(f"{folder} is no run: expected a directory with {run.CONFIG}")
    if config.resume is None and there:
        raise ValueError(
            f"out must be a new directory, got {folder}, which holds a run; "
            f"`ramgru train --resume {folder}` goes on with it"
        )
    if config.resume is None:
        folder.mkdir(parents=True, exist_ok=True)
        configfile.write_config(folder / run.CONFIG, replace(config, out=folder))
    return folder
