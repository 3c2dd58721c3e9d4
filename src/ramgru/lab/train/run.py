"""The directory of a run: its files, how they are begun, locked and read back.

config.json             the whole configuration, and the versions of the software
log.jsonl               one event per line
checkpoint.safetensors  the latest training state
model/                  the trained model: config.json and model.safetensors
evaluation.json         the results of `ramgru evaluate`, if it has run
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ramgru import pretrained
from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab.spec import slug
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import checkpoint, configfile
from ramgru.lab.train.build import build_model
from ramgru.lab.train.config import TrainConfig
from ramgru.sequence import SequenceModel

CONFIG, LOG, CHECKPOINT = "config.json", "log.jsonl", "checkpoint.safetensors"
WEIGHTS = Path("model", "model.safetensors")
EVALUATION = "evaluation.json"


def prepare(config: TrainConfig) -> Path:
    """The directory that `config` names, with config.json in it if the run is new.

    Raises ValueError if a new run would overwrite another one, CheckpointError if there is no run
    to resume.
    """
    folder = config.resume or config.out or default_folder(config)
    exists = (folder / CONFIG).exists()
    if config.resume is not None:
        if not exists:
            raise CheckpointError(f"{folder} is no run: expected a directory with {CONFIG}")
        return folder
    if exists:
        raise ValueError(
            f"out must be a new directory, got {folder}, which holds a run; "
            f"`ramgru train --resume {folder}` goes on with it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    configfile.write_config(folder / CONFIG, replace(config, out=folder))
    return folder


def default_folder(config: TrainConfig, root: Path = Path("runs")) -> Path:
    """The first free one of runs/TASK-LAYER, runs/TASK-LAYER-2, …"""
    name = f"{config.task.name}-{slug(config.model.layer)}"
    number = 1
    while (folder := root / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def newest_run(root: Path = Path("runs")) -> Path:
    """The run below `root` that was started last. Raises RamgruError if there is none."""
    runs = [path.parent for path in root.glob(f"**/{CONFIG}") if (path.parent / LOG).exists()]
    if not runs:
        raise RamgruError(
            f"no run in {root}/: expected one made by `ramgru train`, or the path of one"
        )
    return max(runs, key=lambda run: ((run / CONFIG).stat().st_mtime_ns, run.name))


def load_run(
    run: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[TrainConfig, Task, SequenceModel]:
    """The configuration, the task and the model of a run; the model is in evaluation mode.

    The model of an unfinished run is that of its latest checkpoint.
    Raises CheckpointError if a file is missing, broken or of another run.
    """
    run = Path(run)
    config = configfile.read_config(run / CONFIG)
    model = build_model(config.model, config.task)
    load_weights(model, run)
    return config, config.task, model.to(device).eval()


def load_weights(model: SequenceModel, run: Path) -> None:
    """Load the latest weights of `run` into `model`."""
    if (run / WEIGHTS).is_file():
        pretrained.load_weights(model, run / "model")
    else:
        path = run / CHECKPOINT
        fill(model, checkpoint.part(checkpoint.load(path)[0], "model/"), path)


def fill(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """`load_state_dict` with an error message of one sentence."""
    expected = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    found = {name: tuple(value.shape) for name, value in weights.items()}
    if expected != found:
        names = sorted({name for name, _ in expected.items() ^ found.items()})
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise CheckpointError(
            f"{path} holds another model than config.json describes: they differ in {shown}"
        )
    model.load_state_dict(weights)


def save_model(config: TrainConfig, folder: Path, weights: dict[str, torch.Tensor]) -> None:
    """Write model/, which is enough to use the trained model without the rest of the run.

    `RAMGRUModel.from_pretrained(folder / "model")` reads a ramgru model, too.
    """
    model: Any = build_model(config.model, config.task)
    model.load_state_dict(weights)
    if config.model.name != "ramgru":
        values = {name: configfile.to_dict(config)[name] for name in ("task", "model")}
        model.config = {"model_type": config.model.layer, **values}
    pretrained.save(model, folder / WEIGHTS.parent)


def remove_results(folder: Path) -> None:
    """Remove the trained model and its evaluation, because training continues."""
    for name in (WEIGHTS, EVALUATION):
        (folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a run that failed to start; the directory stays if it holds other files."""
    for name in (CONFIG, LOG):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def remove_temporary(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while writing."""
    for path in folder.rglob(".*.tmp"):
        path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on the run: two writers would corrupt it.

    Raises RamgruError if another process holds the lock. The lock ends with its process.
    """
    try:
        import fcntl
    except ImportError:  # a system without file locks
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise RamgruError(f"{folder} is being written by another process") from error
        yield
    finally:
        os.close(descriptor)
