"""Training states on disk: one safetensors file of tensors and plain JSON facts, no pickle.

The facts travel in the file's own header, so that tensors and facts can never be of two steps.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from torch import Tensor

from ramgru import files
from ramgru.errors import CheckpointError

FORMAT = "ramgru training state 1"


def save(path: Path, tensors: dict[str, Tensor], facts: dict[str, Any]) -> None:
    """Replace `path` atomically; raises RamgruError, with the former file in place, if it cannot.

    facts: JSON values; floats come back bit for bit
    """
    from safetensors.torch import save as serialise

    # One metadata key only: safetensors writes several in an order of its own, never the same.
    header = {"ramgru": json.dumps({"format": FORMAT, **facts})}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    files.write(path, serialise(plain, metadata=header))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors (on the CPU) and facts of a checkpoint.

    Raises CheckpointError where the file is missing, broken or not a training state of ramgru.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise CheckpointError(f"{path} is missing: expected a checkpoint")
    try:
        with safe_open(str(path), framework="pt") as file:
            header = (file.metadata() or {}).get("ramgru")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is broken, no whole safetensors file: {error}") from error
    facts = _facts(header)
    if facts.pop("format", None) != FORMAT:
        raise CheckpointError(
            f"{path} is no checkpoint of a ramgru run: expected {FORMAT!r} in its header"
        )
    return tensors, facts


def part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors below `prefix`, by the rest of their names."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _facts(header: str | None) -> dict[str, Any]:
    try:
        facts = json.loads(header or "{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}
