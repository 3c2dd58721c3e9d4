"""A TrainConfig as config.json and back. The file holds plain values; nothing in it is executed."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch

from ramgru import files
from ramgru.config import Memory
from ramgru.errors import CheckpointError
from ramgru.lab import tasks
from ramgru.lab.train import layers
from ramgru.lab.train.build import ModelConfig
from ramgru.lab.train.config import TrainConfig
from ramgru.version import __version__


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON values, without `resume`, which is not part of the run."""
    values = {
        f.name: str(value) if isinstance(value, Path) else value
        for f in dataclasses.fields(config)
        if f.name != "resume"
        for value in [getattr(config, f.name)]
    }
    values["task"] = tasks.to_config(config.task)
    values["model"] = dataclasses.asdict(config.model) | {"memory": config.model.memory.to_dict()}
    return json.loads(json.dumps(values))  # tuples become lists, as in a file that is read back


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """The inverse of `to_dict`. Raises ValueError or TypeError."""
    values = dict(values)
    model = dict(values.pop("model"))
    memory = Memory(**model.pop("memory"))
    task = tasks.from_config(values.pop("task"))
    hints = get_type_hints(TrainConfig)
    for name, value in values.items():
        if value is not None and hints.get(name) == Path | None:
            values[name] = Path(value)
    return TrainConfig(
        **{**values, "betas": tuple(values["betas"])},
        task=task,
        model=ModelConfig(**model, memory=memory),
    )


def write_config(path: Path, config: TrainConfig) -> None:
    """Write config.json, with the versions of the software that started the run."""
    versions = {
        "ramgru": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    files.write_json(path, {**to_dict(config), "versions": versions}, with_digest=True)


def read_config(path: Path) -> TrainConfig:
    """Read config.json. Raises CheckpointError if the file is missing, broken or foreign, or if it
    names a layer of your own that the caller has not: a file must not cause code to run."""
    if not path.exists():
        raise CheckpointError(f"{path} is missing: expected a run made by `ramgru train`")
    try:
        values = files.read_json(path)
        values.pop("versions", None)
        config = from_dict(values)
    except KeyError as error:
        raise CheckpointError(
            f"{path} is no configuration of a ramgru run: it lacks {error}"
        ) from error
    except OSError as error:
        raise CheckpointError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, TypeError, AttributeError, OverflowError) as error:
        raise CheckpointError(f"{path} is no configuration of a ramgru run: {error}") from error
    name = config.model.name
    if layers.is_own(name) and not layers.named(name):
        raise CheckpointError(
            f"{path} names the layer {name}, which is your own code, and code that a file names is "
            f"not executed: name it yourself, on the command line with `--layer {name}`, in Python "
            f"with `layers.import_own({name!r})`"
        )
    return config
