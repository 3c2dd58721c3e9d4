"""Training checkpoints: one safetensors file of tensors and JSON facts, without pickle.

The facts are stored in the header of the same file, so tensors and facts are always of one step.
"""

from __future__ import annotations

import dataclasses
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramgru import files
from ramgru.errors import CheckpointError
from ramgru.files import UNSEALED
from ramgru.lab.train import configfile
from ramgru.lab.train.config import TrainConfig

FORMAT = "ramgru training state 1"

# Options that a resumed run must keep; the others may change.
FIXED = ("task", "model", "optimizer", "batch_size", "tbptt", "crowd", "curriculum", "seed")


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace `path` atomically. Raises RamgruError, with the former file kept, if that fails.

    facts: JSON values; floats are restored bit for bit
    """
    from safetensors.torch import save as serialise

    # One metadata key only: safetensors writes several keys in an unspecified order.
    header = {"ramgru": json.dumps({"format": FORMAT, "digest of the file": UNSEALED, **facts})}
    stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write(path, files.sealed(serialise(stored, metadata=header)))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and the facts of a checkpoint.

    Raises CheckpointError if the file is missing, broken or not a training state of ramgru.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is missing: expected a checkpoint")
    try:
        files.check_seal(path)
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get("ramgru", "{}")
            # Copies: bits of a product depend on where in memory its factors begin.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is broken, no whole safetensors file: {error}") from error
    try:
        facts = files.parse_json(header)
    except ValueError:
        facts = None
    if not isinstance(facts, dict) or facts.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of a ramgru run: expected {FORMAT!r} in its header"
        )
    facts.pop("digest of the file", None)
    return tensors, facts


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with `prefix`, named without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def check_resumable(config: TrainConfig, facts: dict[str, Any], path: Path) -> None:
    """Raise ValueError if an option or the data differs from those that `path` was made with."""
    now = configfile.to_dict(config)
    # An option that is younger than the run had its default.
    then = {**configfile.to_dict(TrainConfig()), **facts.get("config", {})}
    for name in FIXED:
        for place, new, old in _differences(now[name], then[name], name):
            option = place.replace("task.options.", "task.")  # as on the command line
            raise ValueError(f"{option} must stay {old} when a run is resumed, got {new}")
    if facts.get("digest") not in (None, getattr(config.task, "digest", None)):
        raise ValueError(
            f"{getattr(config.task, 'path', 'the data')} is not the file that the run began with: "
            "its content has changed"
        )


def _differences(new: Any, old: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    """(path, new, old) of each value that differs between two trees of JSON values."""
    if isinstance(new, dict) and isinstance(old, dict):
        for name in sorted(new.keys() | old.keys()):
            yield from _differences(new.get(name), old.get(name), f"{path}.{name}")
    elif new != old:
        yield path, new, old


def seed_generators(seed: int) -> None:
    """Seed the global generators of Python, NumPy and PyTorch."""
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - a user's own task or layer may draw from it
    torch.manual_seed(seed)


def generator_states() -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The states of the global generators, as tensors and JSON facts."""
    kind, keys, *rest = np.random.get_state()  # noqa: NPY002
    tensors = {"torch": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["cuda"] = torch.cuda.get_rng_state()
    return tensors, {"python": random.getstate(), "numpy": [kind, np.asarray(keys).tolist(), *rest]}


def restore_generators(tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Restore the states that `generator_states` returned."""
    version, words, gauss = facts["python"]
    random.setstate((version, tuple(words), gauss))
    np.random.set_state(tuple(facts["numpy"]))  # noqa: NPY002
    torch.set_rng_state(tensors["torch"])
    if "cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["cuda"])


def flatten(state: Any, name: str = "state") -> dict[str, Tensor]:
    """The tensors of a recurrent state by path: {"state/0/hidden": tensor, …}.

    A state is tensors in nested lists, tuples, named tuples, dicts and dataclasses.
    """
    if isinstance(state, Tensor):
        return {name: state}
    found: dict[str, Tensor] = {}
    for key, entry in _entries(state):
        found.update(flatten(entry, f"{name}/{key}"))
    return found


def unflatten(
    template: Any, tensors: dict[str, Tensor], device: torch.device | str, name: str = "state"
) -> Any:
    """The inverse of `flatten`. template: another state of the same model, for the nesting."""
    if name in tensors:
        return tensors[name].to(device)
    if isinstance(template, Tensor):
        return None
    entries = _entries(template)
    if not entries:
        return template
    built = {key: unflatten(entry, tensors, device, f"{name}/{key}") for key, entry in entries}
    if isinstance(template, dict):
        return built
    if dataclasses.is_dataclass(template) and not isinstance(template, type):
        return dataclasses.replace(template, **built)
    make = getattr(template, "_make", type(template))  # a named tuple takes no iterable
    return make(built.values())


def _entries(state: Any) -> list[tuple[str, Any]]:
    if isinstance(state, dict):
        return [(str(key), entry) for key, entry in state.items()]
    if dataclasses.is_dataclass(state) and not isinstance(state, type):
        return [(f.name, getattr(state, f.name)) for f in dataclasses.fields(state) if f.init]
    if hasattr(state, "_fields"):
        return list(zip(state._fields, state))
    if isinstance(state, list | tuple):
        return [(str(i), entry) for i, entry in enumerate(state)]
    return []
