"""A model's recurrent state as named tensors and back, for checkpoints of streams.

A state is tensors within lists, tuples, named tuples, dicts and dataclasses. Only tensors are
written; the shape of the nesting comes from a fresh state of the same model.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import torch
from torch import Tensor


def flatten(state: Any, name: str = "state") -> dict[str, Tensor]:
    """{"state/0/hidden": tensor, …}; entries that are None are left out."""
    if isinstance(state, Tensor):
        return {name: state}
    found: dict[str, Tensor] = {}
    for key, entry in _entries(state):
        found.update(flatten(entry, f"{name}/{key}"))
    return found


def unflatten(
    template: Any, tensors: dict[str, Tensor], device: torch.device | str, name: str = "state"
) -> Any:
    """The state that `flatten` took apart; `template`: a fresh state of the same model."""
    if name in tensors:
        return tensors[name].to(device)
    entries = _entries(template)
    if isinstance(template, Tensor) or not entries:
        return None if isinstance(template, Tensor) else template
    built = {key: unflatten(entry, tensors, device, f"{name}/{key}") for key, entry in entries}
    if isinstance(template, dict):
        return built
    if dataclasses.is_dataclass(template) and not isinstance(template, type):
        return dataclasses.replace(template, **built)
    if hasattr(template, "_fields"):
        return type(template)(**built)
    return type(template)(built.values())


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
