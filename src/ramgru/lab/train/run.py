"""The directory of a run: its files, how they are begun, locked and read back.

config.json             the whole configuration, and the versions of the software
log.jsonl               one event per line
checkpoint.safetensors  the latest training state
model/                  the trained model: config.json and model.safetensors
evaluation.json         the results of `ramgru evaluate`, if it has run
"""

from __future__ import annotations

import contextlib
import itertools
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from ramgru import files, pretrained
from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab.spec import slug
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import checkpoint, configfile, layers
from ramgru.lab.train.build import build_model
from ramgru.lab.train.config import TrainConfig
from ramgru.sequence import SequenceModel

CONFIG, LOG, CHECKPOINT = "config.json", "log.jsonl", "checkpoint.safetensors"
WEIGHTS = Path("model", "model.safetensors")
EVALUATION = "evaluation.json"


@contextlib.contextmanager
def claimed(config: TrainConfig) -> Iterator[Path]:
    """The directory that `config` names, locked, with config.json in it if the run is new.

    The lock is held before anything is written. Raises ValueError if a new run would not be alone
    in its directory, CheckpointError if there is no run to resume, InUse if another process
    writes it. Nothing has changed then.
    """
    folder = config.resume or config.out or new_folder(config)
    if config.resume is not None:
        if not (folder / CONFIG).exists():
            raise CheckpointError(f"{folder} is no run: expected a directory with {CONFIG}")
    else:
        folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if config.resume is not None:
            configfile.read_config(folder / CONFIG)  # or it is someone else's config.json
        else:
            check_free(folder)
        files.sweep(folder)
        files.sweep(folder / WEIGHTS.parent)
        if config.resume is None:
            configfile.write_config(folder / CONFIG, replace(config, out=folder))
        yield folder


def check_free(folder: Path) -> None:
    """Raise ValueError if a directory holds anything but files that killed writers have left."""
    names = sorted(path.name for path in folder.iterdir() if not files.is_temporary(path))
    if CONFIG in names and is_run(folder):
        raise ValueError(
            f"out must be a new directory, got {folder}, which holds a run; "
            f"`ramgru train --resume {folder}` goes on with it"
        )
    if names:
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise ValueError(f"out must be a new or an empty directory, got {folder}, with {shown}")


def is_run(folder: Path) -> bool:
    """Whether a directory holds the configuration of a run."""
    try:
        values = files.read_json(folder / CONFIG)
    except (OSError, ValueError):
        return False
    return isinstance(values, dict) and {"task", "model", "optimizer"} <= values.keys()


def new_folder(config: TrainConfig, root: Path = Path("runs")) -> Path:
    """The first free one of runs/TASK-LAYER, runs/TASK-LAYER-2, …, which is made."""
    name = f"{config.task.name}-{slug(config.model.layer)}"
    for number in itertools.count(1):
        folder = root / (name if number == 1 else f"{name}-{number}")
        with contextlib.suppress(FileExistsError):  # also of a run that starts now
            folder.mkdir(parents=True)
            break
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
    if (run / WEIGHTS).is_file():
        model = sized(config, pretrained.shapes(run / WEIGHTS), run / WEIGHTS)
        pretrained.load_weights(model, run / WEIGHTS.parent)
    else:
        path = run / CHECKPOINT
        weights = checkpoint.part(checkpoint.load(path)[0], "model/")
        model = sized(config, pretrained.shapes_of(weights), path)
        model.load_state_dict(weights)
    return config, config.task, model.to(device).eval()


def fill(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """`load_state_dict` with an error message of one sentence."""
    pretrained.check_shapes(model, pretrained.shapes_of(weights), path)
    model.load_state_dict(weights)


def sized(config: TrainConfig, found: dict[str, tuple[int, ...]], path: Path) -> SequenceModel:
    """The model of `config`, untrained, whose weights have the shapes `found` in the file `path`.

    Raises CheckpointError if they differ.
    """
    network = config.model.resolved()[0]
    for name, count in (("num_layers", network.num_layers), ("heads", len(network.memory.heads))):
        pretrained.check_count(name, count, found, path)
    if layers.is_own(network.layer):  # the caller's code, which may not know torch's meta device
        model = build_model(config.model, config.task)
        pretrained.check_shapes(model, found, path)
        return model
    try:
        return pretrained.built(lambda: build_model(config.model, config.task), found, path)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's is the last
        raise CheckpointError(f"{path} does not fit its {CONFIG}: {error}") from error


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
        (folder / name).resolve().unlink(missing_ok=True)  # of a link, the file and not the link


def discard(folder: Path, *, existed: bool) -> None:
    """Remove the files of a new run that failed to start, and its directory unless it `existed`."""
    for name in (CONFIG, LOG):
        (folder / name).unlink(missing_ok=True)
    if not existed:
        with contextlib.suppress(OSError):
            folder.rmdir()


class InUse(RamgruError):
    """Another process writes the directory."""


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold an exclusive lock on a directory: two writers would corrupt it. Warns if its file system
    has no locks.

    Raises InUse if another process holds the lock. The lock ends with its process.
    """
    if os.name != "posix":  # there a directory cannot be opened
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        try:
            safe = files.lock(descriptor)
        except BlockingIOError as error:
            raise InUse(
                f"{folder} is being written by another process{_holder(descriptor)}"
            ) from error
        if not safe:
            warnings.warn(
                f"{folder} is on a file system without locks: a second command that writes it at "
                "the same time would not be noticed",
                stacklevel=3,
            )
        yield
    finally:
        os.close(descriptor)


def _holder(descriptor: int) -> str:
    """ ", number N", of the process that holds the lock on an open directory, if Linux knows it."""
    inode = str(os.fstat(descriptor).st_ino)
    with contextlib.suppress(OSError):
        for line in Path("/proc/locks").read_text(encoding="utf-8").splitlines():
            words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fe:00:131 0 EOF
            if len(words) > 5 and words[1] == "FLOCK" and words[5].split(":")[-1] == inode:
                return f", number {words[4]}"
    return ""
