"""The directory of a run: where its files are, and how it is read back.

config.json             the whole configuration, and the versions it ran with
log.jsonl               one event a line
checkpoint.safetensors  the latest training state
model/                  the trained model: config.json and model.safetensors
evaluation.json         what it can do, once it was measured
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import torch

from ramgru import files
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


def default_folder(config: TrainConfig, root: Path = Path("runs")) -> Path:
    """The first free of runs/TASK-LAYER, runs/TASK-LAYER-2, …"""
    name = f"{config.task.name}-{slug(config.model.layer)}"
    number = 1
    while (folder := root / (name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder


def newest_run(root: Path = Path("runs")) -> Path:
    """The run below `root` that was begun last. Raises RamgruError where there is none."""
    runs = [path.parent for path in root.glob(f"**/{CONFIG}") if (path.parent / LOG).exists()]
    if not runs:
        raise RamgruError(
            f"no run in {root}/: expected one made by `ramgru train`, or the path of one"
        )
    return max(runs, key=lambda run: ((run / CONFIG).stat().st_mtime_ns, run.name))


def load_run(
    run: str | os.PathLike[str], device: torch.device | str = "cpu"
) -> tuple[TrainConfig, Task, SequenceModel]:
    """The configuration, the task and the model of a run, the model ready to be asked (`eval`).

    Of a run that is still going, or was broken off, the model is that of its latest checkpoint.
    Raises CheckpointError where a file is missing, broken or not of this run.
    """
    run = Path(run)
    config = configfile.read_config(run / CONFIG)
    model = build_model(config.model, config.task)
    load_weights(model, run)
    return config, config.task, model.to(device).eval()


def load_weights(model: SequenceModel, run: Path) -> None:
    """Put the latest weights of `run` into `model`."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = run / WEIGHTS
    if path.is_file():
        try:
            weights = load_file(path)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{path} is broken: not a whole safetensors file") from error
    else:
        path = run / CHECKPOINT
        weights = checkpoint.part(checkpoint.load(path)[0], "model/")
    fill(model, weights, path)


def fill(model: torch.nn.Module, weights: dict[str, torch.Tensor], path: Path) -> None:
    """`load_state_dict`, with an error of one sentence."""
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
    """Write model/: what is needed to use the trained model, without the rest of the run.

    A ramgru model can be read by `RAMGRUModel.from_pretrained(folder / "model")` too.
    """
    from safetensors.torch import save

    path = folder / WEIGHTS
    plain = {name: value.detach().cpu().contiguous() for name, value in weights.items()}
    if config.model.name == "ramgru":
        model = build_model(config.model, config.task)
        model.load_state_dict(plain)
        model.save_pretrained(path.parent)  # type: ignore[operator]
        return
    path.parent.mkdir(exist_ok=True)
    values = configfile.to_dict(config)
    described = {"model_type": config.model.layer, "task": values["task"], "model": values["model"]}
    files.write_json(path.parent / CONFIG, described)
    files.write(path, save(plain))


def outdate(folder: Path) -> None:
    """Remove what was made of an earlier end of the run, now that it goes on."""
    for name in (WEIGHTS, EVALUATION):
        (folder / name).unlink(missing_ok=True)


def discard(folder: Path) -> None:
    """Remove a run that could not begin; a directory that holds more than that stays."""
    for name in (CONFIG, LOG):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        folder.rmdir()


def sweep_up(folder: Path) -> None:
    """Remove the temporary files of a process that was killed while it wrote."""
    for pattern in (".*.tmp", "model/.*.tmp"):
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(folder: Path, *, wanted: bool = True) -> Iterator[None]:
    """Hold the run alone, where `wanted`: two processes that write one run would tear it.

    Raises RamgruError where another process holds it. The lock dies with its process.
    """
    try:
        import fcntl
    except ImportError:  # a system without such locks
        wanted = False
    if not wanted:
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
