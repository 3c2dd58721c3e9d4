"""What the study of state bytes found, as plain data, and which points stand beside each other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ramgru.errors import DataError
from ramgru.lab.show.data import Score

OURS, THEIRS = "ramgru", "gated_deltanet"
NEAR = 2.0  # states of more than so many times the bytes of each other are not called equal


@dataclass(frozen=True)
class Point:
    """One network, over its seeds.

    state_bytes:     all that one sequence carries; written_bytes: of it, what is not fresh after
                     the largest size tested; touched_bytes: of it, what one step reads or changes
    multiplications: of one streamed step, all layers together (step_cost.py)
    rates:           {learning rate: mean recall with it on the first seed}; lr: the one taken
    mean:            recall averaged over the sizes; sizes: {pairs: recall there}
    seconds:         of training, the mean over seeds
    """

    layer: str
    name: str
    parameters: int
    state_bytes: int
    written_bytes: int
    touched_bytes: int
    multiplications: int
    rates: dict[str, float]
    lr: float
    mean: Score
    sizes: dict[str, Score]
    seconds: float

    @property
    def hardest(self) -> Score:
        """Recall at the largest size tested."""
        return list(self.sizes.values())[-1]


@dataclass(frozen=True)
class Results:
    """All points; config: the budget of their runs; machine: where they were trained."""

    points: list[Point]
    config: dict[str, Any]
    machine: dict[str, str]

    def of(self, layer: str) -> list[Point]:
        """The points of a layer, from the least state to the most."""
        found = [point for point in self.points if point.layer == layer]
        return sorted(found, key=lambda point: point.state_bytes)

    def at_equal_compute(self, ours: Point) -> Point | None:
        """The peer that multiplies least among those that multiply no less than `ours`."""
        no_less = [p for p in self.of(THEIRS) if p.multiplications >= ours.multiplications]
        return min(no_less, key=lambda p: p.multiplications, default=None)

    def at_equal_bytes(self, ours: Point) -> Point | None:
        """The peer with the nearest number of state bytes, where one is near."""

        def apart(point: Point) -> float:
            return abs(math.log(point.state_bytes / ours.state_bytes))

        near = min(self.of(THEIRS), key=apart, default=None)
        return near if near is not None and apart(near) <= math.log(NEAR) else None


def lead(ours: Score, theirs: Score) -> tuple[str | None, bool]:
    """The layer that is ahead by its mean, None where neither is; whether the intervals part."""
    if ours.mean == theirs.mean:
        return None, False
    first, second = (ours, theirs) if ours.mean > theirs.mean else (theirs, ours)
    apart = first.low is not None and second.high is not None and first.low > second.high
    return (OURS if first is ours else THEIRS), apart


def read(path: Path) -> Results:
    """What was written as JSON. Raises DataError: missing, broken, or not whole."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return Results(**{**data, "points": [_point(values) for values in data["points"]]})
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}; train the study first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no study of state bytes: {error!r}") from error


def _point(values: Mapping[str, Any]) -> Point:
    sizes = {pairs: Score(**score) for pairs, score in values["sizes"].items()}
    return Point(**{**values, "mean": Score(**values["mean"]), "sizes": sizes})
