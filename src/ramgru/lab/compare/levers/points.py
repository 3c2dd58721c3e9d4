"""The levers of memory efficiency, and the points that each is tried at.

A point is some options of the RAM-GRU layer, set otherwise than in the configuration that the study
starts from. That configuration, `default`, is a point of every lever and is trained once.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from ramgru.lab.train.build import ModelConfig, RAMOptions

DEFAULT = "default"


@dataclass(frozen=True)
class Point:
    """One configuration: its name, and the options of `RAMOptions` that make it."""

    name: str
    options: dict[str, Any]

    def model(self, start: ModelConfig) -> ModelConfig:
        """The network of this point. start: the default's."""
        return replace(start, ram=replace(start.ram, **self.options))


@dataclass(frozen=True)
class Lever:
    """What can be pulled: a name, what it asks, and the options that it is tried at.

    Options that `RAMOptions` does not have (yet) leave their point out.
    """

    name: str
    question: str
    options: tuple[dict[str, Any], ...]

    def points(self, start: ModelConfig) -> list[Point]:
        """The points in order, the default in its place among them, or before them all."""
        known = {field.name for field in fields(RAMOptions)}
        found = []
        for options in self.options:
            if options.keys() <= known:
                point = named(options, start.ram)
                found += [point] if point not in found else []
        default = Point(DEFAULT, {})
        return found if default in found else [default, *found]


LEVERS = {
    lever.name: lever
    for lever in (
        Lever(
            "gates",
            "How far a write opens a cell: where the update gate starts, whether every cell has a "
            "gate of its own, and which range a gate has.",
            (
                {"gate_bias": -1.0},
                {"gate_bias": 0.0},
                {"gate_bias": 1.0},
                {"gate_bias": 3.0},
                {"gate": "cell"},
                {"gate_range": (-0.1, 1.1)},
            ),
        ),
        Lever(
            "cells",
            "How many cells a memory has, at the same cost of a step.",
            tuple({"memory_size": 2**bits} for bits in range(4, 21, 4)),
        ),
        Lever(
            "structure",
            "How the unit is built: its write rule, the cells that a step touches, heads of one "
            "width together, the controller, and where an address comes from.",
            (
                {"write_rule": "delta"},
                {"top_k": 1},
                {"top_k": 2},
                {"top_k": 8},
                {"nhead": 1, "head_size": 64},
                {"nhead": 2, "head_size": 32},
                {"nhead": 4, "head_size": 16},
                {"nhead": 8, "head_size": 8},
                {"controller": "gru"},
                {"spans": (1, 2)},
                {"learn_address": True},
            ),
        ),
    )
}


def named(options: dict[str, Any], start: RAMOptions) -> Point:
    """The point of these options, less those that `start` has anyway."""
    changed = {name: value for name, value in options.items() if getattr(start, name) != value}
    name = " · ".join(f"{name} {_text(value)}" for name, value in changed.items())
    return Point(name or DEFAULT, changed)


def points_of(
    levers: Sequence[str], start: ModelConfig, *, full: bool = False
) -> dict[str, list[Point]]:
    """{lever: its points}; one factor at a time, and with `full` all combinations, as "crossed"."""
    found = {name: LEVERS[name].points(start) for name in levers}
    if full:
        found["crossed"] = list(_crossed(list(found.values()), start))
    return found


def _crossed(levers: list[list[Point]], start: ModelConfig) -> Iterator[Point]:
    for combination in itertools.product(*levers):
        options: dict[str, Any] = {}
        for point in combination:
            options |= point.options
        yield named(options, start.ram)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(_text, value))
    return (
        f"{value:,}" if type(value) is int else f"{value:g}" if type(value) is float else f"{value}"
    )
