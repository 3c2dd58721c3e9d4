"""The results of a comparison as plain data, read from run directories and kept as JSON.

A report needs nothing else, so it can be drawn again without training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.evaluate.capacity import bits_held
from ramgru.lab.show.data import (
    Answer,
    Curve,
    Line,
    Occupancy,
    Sample,
    Scale,
    Score,
    over_seeds,
)

FORMAT = "ramgru-compare-2"

PAIRS = "pairs"  # the axis that counts independent stored values
_BITS = ("state_bytes", "bits_held", "bits_per_state_byte")  # of a row of an evaluation


@dataclass(frozen=True)
class Row:
    """One slice of an evaluation: its place on the axes, and its score."""

    axes: dict[str, int]
    score: float
    count: int
    low: float
    high: float
    chance: float
    plateau: float | None = None


@dataclass(frozen=True)
class DistanceRow:
    """The score of the questions asked `low` to `high` steps after their write."""

    low: int
    high: int
    score: float
    count: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One training run, its evaluation and its costs.

    step_us:       microseconds of one streaming step of one sequence
    train_us:      microseconds of a train step per token
    touched_bytes: bytes of memory cells that one step reads or writes; None for other layers
    """

    name: str
    task: str
    layer: str
    seed: int
    lr: float
    parameters: int
    state_bytes: int
    steps: int
    seconds: float
    curve: Curve
    rows: list[Row]
    distance: list[DistanceRow]
    step_us: float | None = None
    train_us: float | None = None
    touched_bytes: int | None = None

    @property
    def bits(self) -> float | None:
        """Bits held, at the number of pairs at which they are most; None without pairs."""
        each = [bits_held(r.axes[PAIRS], r.score, r.chance) for r in self.rows if PAIRS in r.axes]
        return max(each, default=None)

    @property
    def bits_per_state_byte(self) -> float | None:
        """Of the whole state, whether its cells are in use or not."""
        return None if self.bits is None else self.bits / self.state_bytes


@dataclass(frozen=True)
class Trial:
    """A learning rate that was tried.

    metric, loss: of the last evaluation on held-out data of the training sizes; None if the loss
    became infinite. step: the last one. given_up: pruned before the end of the budget.
    """

    layer: str
    lr: float
    metric: float | None
    loss: float | None
    step: int
    given_up: bool = False
    chosen: bool = False


@dataclass(frozen=True)
class Memory:
    """The memory of one RAM-GRU run: cells in use at one slice, and the answers to one sample."""

    run: str
    occupancy: Occupancy
    occupancy_axes: dict[str, int]
    sample: Sample | None = None


@dataclass(frozen=True)
class Results:
    """The layers on one task.

    trained: sizes of the training task on the axes of the evaluation. runs: one a layer and seed.
    tried: all learning rates, if there were several. groups: {lever: its layers}, if it is the
    ablation of the levers.
    """

    task: str
    metric: str
    trained: dict[str, int]
    runs: list[Run]
    tried: list[Trial] = field(default_factory=list)
    memory: Memory | None = None
    groups: dict[str, list[str]] = field(default_factory=dict)

    def only(self, layers: Sequence[str]) -> Results:
        """The same results of these layers alone, without the memory and the rates."""
        runs = [run for run in self.runs if run.layer in layers]
        return replace(self, runs=runs, tried=[], memory=None, groups={})

    def mean(self, layer: str, name: str) -> float | None:
        """The mean over seeds of an attribute of `Run`; None if it is unknown for any seed."""
        each = [getattr(run, name) for run in self.of(layer)]
        return None if None in each else sum(each) / len(each)

    @property
    def layers(self) -> list[str]:
        """Layers in the order of training."""
        return list(dict.fromkeys(run.layer for run in self.runs))

    def of(self, layer: str) -> list[Run]:
        """The runs of a layer, one a seed."""
        return [run for run in self.runs if run.layer == layer]

    def slices(self) -> list[dict[str, int]]:
        """The axes of each slice in the order of the evaluation."""
        return [row.axes for row in self.runs[0].rows]

    def score(self, layer: str, axes: Mapping[str, int]) -> Score:
        """A layer's mean score at a slice: with several seeds, the interval is over seeds."""
        rows = [row for run in self.of(layer) for row in run.rows if row.axes == axes]
        return over_seeds([row.score for row in rows], rows[0].low, rows[0].high)

    def distances(self) -> list[Line]:
        """Scores by distance, one line a layer; x is the beginning of each range."""
        lines = []
        for layer in self.layers:
            ranges: dict[tuple[int, int], list[DistanceRow]] = {}
            for run in self.of(layer):
                for row in run.distance:
                    ranges.setdefault((row.low, row.high), []).append(row)
            if ranges:
                x = [max(low, 1) for low, _ in ranges]  # for a log axis
                scores = [
                    over_seeds([row.score for row in rows], *rows[0].interval)
                    for rows in ranges.values()
                ]
                lines.append(Line(layer, x, scores))
        return lines


@dataclass(frozen=True)
class Comparison:
    """A whole comparison: its results on each task, and how to repeat it."""

    tasks: list[Results]
    command: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> list[str]:
        """Layers in the order of training, on any task."""
        return list(dict.fromkeys(layer for task in self.tasks for layer in task.layers))

    def to_json(self) -> str:
        """JSON text that `from_json` reads."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, source: str = "the file") -> Comparison:
    """The comparison in a text of `to_json`.

    source: of the text, for the error message.
    Raises DataError: not JSON, of another format, or incomplete.
    """
    try:
        data = files.unsealed(files.parse_json(text))
    except ValueError as error:
        raise DataError(f"{source}: expected JSON, but: {error}") from error
    found = data.pop("format", None) if isinstance(data, dict) else None
    if found != FORMAT:
        raise DataError(f"{source}: expected a comparison of format {FORMAT!r}, got {found!r}")
    try:
        return Comparison(**{**data, "tasks": [_of_task(values) for values in data["tasks"]]})
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(f"{source}: the comparison is incomplete: {error!r}") from error


def _of_task(data: dict[str, Any]) -> Results:
    runs = [run_from_dict(run) for run in data["runs"]]
    tried = [Trial(**trial) for trial in data["tried"]]
    results = Results(**{**data, "runs": runs, "tried": tried, "memory": _memory(data["memory"])})
    for axes in results.slices():
        for layer in results.layers:
            results.score(layer, axes)  # fails if a slice is missing
    return results


def run_from_dict(data: Mapping[str, Any]) -> Run:
    """The inverse of `asdict(run)`. Raises KeyError or TypeError if it is incomplete."""
    rows = [Row(**row) for row in data["rows"]]
    distance = [DistanceRow(**row) for row in data["distance"]]
    return Run(**{**data, "rows": rows, "distance": distance, "curve": Curve(**data["curve"])})


def _memory(data: Mapping[str, Any] | None) -> Memory | None:
    if data is None:
        return None
    sample = data["sample"]
    if sample is not None:
        scale = Scale(**sample["scale"]) if sample.get("scale") else None
        answers = [Answer(**answer) for answer in sample["answers"]]
        sample = Sample(sample["tokens"], answers, scale)
    return Memory(**{**data, "occupancy": Occupancy(**data["occupancy"]), "sample": sample})


def read_evaluation(path: Path) -> tuple[dict[str, Any], list[Row], list[DistanceRow]]:
    """evaluation.json of a run: its head (metric, state_bytes), its rows, its distances.

    Raises DataError: missing, broken, or not an evaluation.
    """
    measured = ("score", "count", "low", "high")
    others = {*measured, "chance", "plateau", "exact", "loss", *_BITS}
    try:
        data = files.read_json(path)
        rows = [
            Row(
                axes={k: v for k, v in row.items() if k not in others and type(v) is int},
                **{name: row[name] for name in measured},
                chance=row.get("chance", data["chance"]),
                plateau=row.get("plateau"),
            )
            for row in data["rows"]
        ]
        keys = ("low", "high", "score", "count", "interval")
        distance = [DistanceRow(*(row[key] for key in keys)) for row in data.get("distance") or ()]
        return {"metric": data["metric"], "state_bytes": int(data["state_bytes"])}, rows, distance
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(f"{path} is not an evaluation: {error!r}") from error


def curve_of(events: Sequence[Mapping[str, Any]], layer: str, seed: int, metric: str) -> Curve:
    """The learning curve in a run's log, without losses that are not finite."""
    steps = [e for e in events if e.get("event") == "step" and e.get("loss") is not None]
    scores = [e for e in events if e.get("event") == "evaluate" and e.get(metric) is not None]
    return Curve(
        layer,
        seed,
        [int(event["step"]) for event in steps],
        [float(event["loss"]) for event in steps],
        [int(event["step"]) for event in scores],
        [float(event[metric]) for event in scores],
    )
