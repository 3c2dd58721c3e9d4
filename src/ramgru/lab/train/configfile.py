"""A TrainConfig as config.json and back: plain values only, so that nothing in it is executed."""

from __future__ import annotations

import dataclasses
import json
import platform
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import torch

from ramgru import files
from ramgru.errors import CheckpointError
from ramgru.lab import tasks
from ramgru.lab.train import layers
from ramgru.lab.train.build import ModelConfig, RAMOptions
from ramgru.lab.train.config import TrainConfig
from ramgru.version import __version__


def to_dict(config: TrainConfig) -> dict[str, Any]:
    """The configuration as JSON values; `resume` says how a run was started, not what it is."""
    values = {
        f.name: getattr(config, f.name) for f in dataclasses.fields(config) if f.name != "resume"
    }
    described = {
        **{name: str(v) if isinstance(v, Path) else v for name, v in values.items()},
        "task": tasks.to_config(config.task),
        "model": dataclasses.asdict(config.model),
    }
    return json.loads(json.dumps(described))  # tuples become lists, as in what is read back


def from_dict(values: dict[str, Any]) -> TrainConfig:
    """The configuration that `to_dict` described. Raises ValueError or TypeError."""
    values = dict(values)
    model = dict(values.pop("model"))
    ram = RAMOptions(**model.pop("ram"))
    task = tasks.from_config(values.pop("task"))
    hints = get_type_hints(TrainConfig)
    for name, value in values.items():
        if value is not None and hints.get(name) == Path | None:
            values[name] = Path(value)
    return TrainConfig(
        **{**values, "betas": tuple(values["betas"])},
        task=task,
        model=ModelConfig(**model, ram=ram),
    )


def write_config(path: Path, config: TrainConfig) -> None:
    """Write config.json, with the versions that the run was begun with."""
    versions = {
        "ramgru": __version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
    files.write_json(path, {**to_dict(config), "versions": versions})


def read_config(path: Path) -> TrainConfig:
    """Read config.json. Raises CheckpointError where it is missing, broken or foreign, or names an
    own layer whose module was not imported yet: what a file names is not executed."""
    if not path.is_file():
        raise CheckpointError(f"{path} is missing: expected a run made by `ramgru train`")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        values.pop("versions", None)
        config = from_dict(values)
    except KeyError as error:
        raise CheckpointError(
            f"{path} is no configuration of a ramgru run: it lacks {error}"
        ) from error
    except (ValueError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is no configuration of a ramgru run: {error}") from error
    name = config.model.name
    if layers.is_own(name) and not layers.imported(name):
        raise CheckpointError(
            f"{path} names the layer {name}, which is code of your own, and nothing that a file "
            f"names is executed: import it first, on the command line by `--layer {name}`"
        )
    return config
