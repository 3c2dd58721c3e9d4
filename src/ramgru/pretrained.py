"""A trained model on disk: config.json, its constructor's arguments, and model.safetensors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from torch import nn

from ramgru import files
from ramgru.config import Memory
from ramgru.errors import CheckpointError

Model = TypeVar("Model", bound=nn.Module)

CONFIG, WEIGHTS, KIND = "config.json", "model.safetensors", "ramgru"


def save(model: nn.Module, folder: str | Path) -> Path:
    """Write model.config and the weights into `folder`, which is made if it is missing."""
    safetensors = files.safetensors()
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    files.write(folder / WEIGHTS, safetensors.torch.save(tensors))
    files.write_json(folder / CONFIG, {"model_type": KIND, **model.config})  # type: ignore[dict-item]
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """The arguments of the model's constructor."""
    path = Path(folder) / CONFIG
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no saved model: it has no {CONFIG}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    kind = config.pop("model_type", None) if isinstance(config, dict) else None
    if kind != KIND:
        raise CheckpointError(f"{path}: expected a model of type {KIND!r}, got {kind!r}")
    if isinstance(config.get("memory"), dict):
        try:
            config["memory"] = Memory(**config["memory"])
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{path} describes no such memory: {error}") from error
    return config


def build(model: Callable[..., Model], folder: str | Path) -> Model:
    """model(**config), untrained. Raises CheckpointError if the config does not fit the model."""
    config = read_config(folder)
    try:
        return model(**config)
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"{Path(folder) / CONFIG} describes no such model: {error}"
        ) from error


def load_weights(model: nn.Module, folder: str | Path) -> None:
    """Load the weights of a model of the same shape; safetensors files hold numbers only."""
    safetensors = files.safetensors()
    path = Path(folder) / WEIGHTS
    try:
        tensors = safetensors.torch.load_file(path)
        for value in tensors.values():  # all of one dtype, which the model adopts
            model.to(value.dtype)
            break
        model.load_state_dict(tensors)
    except FileNotFoundError as error:
        raise CheckpointError(f"{folder} holds no weights: it has no {WEIGHTS}") from error
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} is broken: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its {CONFIG}: {error}") from error
