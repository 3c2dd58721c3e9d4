"""A trained model on disk: config.json, its constructor's arguments, and model.safetensors."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import torch
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
    content = safetensors.torch.save(tensors, {KIND: files.UNSEALED})
    files.write(folder / WEIGHTS, files.sealed(content))
    config: dict[str, Any] = {"model_type": KIND, **model.config}  # type: ignore[dict-item]
    files.write_json(folder / CONFIG, config, with_digest=True)
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """The arguments of the model's constructor."""
    path = Path(folder) / CONFIG
    try:
        config = files.read_json(path)
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
    """model(**config), untrained, with the shapes of the saved weights.

    Raises CheckpointError if the config fits neither the model nor the weights.
    """
    config = read_config(folder)
    path = Path(folder) / WEIGHTS
    found = shapes(path)
    try:
        for name in ("num_layers", "nhead"):
            check_count(name, config.get(name, 0), found, path)
        return built(lambda: model(**config), found, path)
    except (TypeError, ValueError, OverflowError, RuntimeError) as error:  # torch's is the last
        raise CheckpointError(
            f"{Path(folder) / CONFIG} describes no such model: {error}"
        ) from error


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor of a safetensors file. Raises CheckpointError."""
    with _told(path), files.safetensors().safe_open(str(path), "pt") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118


def shapes_of(weights: dict[str, torch.Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


def check_count(name: str, count: Any, found: dict[str, tuple[int, ...]], path: Path) -> None:
    """Raise CheckpointError if a model has more parts of a kind than the file has numbers."""
    most = sum(map(math.prod, found.values()))
    if isinstance(count, int | float) and count > most:
        raise CheckpointError(f"{path} does not fit its {CONFIG}: {name}={count:,} needs more")


def built(make: Callable[[], Model], found: dict[str, tuple[int, ...]], path: Path) -> Model:
    """make(), whose tensors have the shapes `found` in the file `path`.

    A model without memory is made first: a config may name any size, a file holds what it holds.
    Raises CheckpointError if the shapes differ.
    """
    with torch.device("meta"):
        sketch = make()
    check_shapes(sketch, found, path)
    return make()


def check_shapes(model: nn.Module, found: dict[str, tuple[int, ...]], path: Path) -> None:
    """Raise CheckpointError if the tensors of a model and of a file differ."""
    expected = shapes_of(model.state_dict())
    if expected != found:
        names = sorted({name for name, _ in expected.items() ^ found.items()})
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise CheckpointError(f"{path} does not fit its {CONFIG}: they differ in {shown}")


def load_weights(model: nn.Module, folder: str | Path) -> None:
    """Load the weights of a model of the same shape; safetensors files hold numbers only."""
    safetensors = files.safetensors()
    path = Path(folder) / WEIGHTS
    with _told(path):
        files.check_seal(path)
        tensors = safetensors.torch.load_file(path)
        for value in tensors.values():  # all of one dtype, which the model adopts
            model.to(value.dtype)
            break
        model.load_state_dict(tensors)


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Errors of a file of weights, as one sentence."""
    try:
        yield
    except FileNotFoundError as error:
        raise CheckpointError(f"{path.parent} holds no weights: it has no {path.name}") from error
    except (OSError, ValueError, files.safetensors().SafetensorError) as error:
        raise CheckpointError(f"{path} is broken: {error}") from error
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit its {CONFIG}: {error}") from error
