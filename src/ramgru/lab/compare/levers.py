"""The ablation that `ramgru compare --levers` makes: variants of the RAM-GRU, lever by lever.

Each variant is a layer's specification that changes one option. The unchanged layer, `ramgru`, is
the reference of every lever.
"""

from __future__ import annotations

from typing import Any

from ramgru.config import Memory
from ramgru.lab.spec import joined
from ramgru.lab.train import ModelConfig

REFERENCE = "ramgru"
# {lever: (question, {option: values})}
LEVERS: dict[str, tuple[str, dict[str, tuple[Any, ...]]]] = {
    "gates": (
        "How far do update gates open before training?",
        {"gate_bias": (-3.0, -1.0, 0.0, 1.0, 3.0)},
    ),
    "cells": (
        "How many cells does a head have? The time of a step hardly depends on it.",
        {"cells": (16, 256, 4096, 65_536)},
    ),
    "structure": (
        "How many cells does a step write and read, how many heads share the width, how wide is a "
        "cell, what drives the memory, and what do heads look for?",
        {
            "writes": (1, 2, 4, 8),
            "reads": (1, 2, 4, 8),
            "heads": (
                *("1", "2", "4", "8"),
                *("key:2 key:2 key:2 key:2", "key key:2 key:3 key:4", "key key key tape"),
            ),
            "width": (4, 16, 64),
            "controller": ("gru", "mingru", "diagonal"),
        },
    ),
}


def contenders(model: ModelConfig) -> dict[str, list[str]]:
    """{lever: specifications}, the reference first; values that `model` has anyway are left out."""
    found = {}
    for lever, (_, options) in LEVERS.items():
        variants = [(name, value) for name, values in options.items() for value in values]
        changed = [joined(REFERENCE, {n: v}) for n, v in variants if not _has(model, n, v)]
        found[lever] = [REFERENCE, *changed]
    return found


def _has(model: ModelConfig, option: str, value: Any) -> bool:
    memory = model.memory
    known = {
        "controller": model.controller,
        "heads": memory.heads,
        "width": memory.width_for(model.d_model),
    }
    wanted = Memory(heads=value).heads if option == "heads" else value
    return bool(wanted == known.get(option, getattr(memory, option, None)))
