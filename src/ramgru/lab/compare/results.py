"""What a comparison found, as plain data: read from run directories, kept as JSON and as tidy CSV.

A report is drawn from this alone, so that it can be drawn again without training.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ramgru.errors import DataError
from ramgru.lab.compare import saved
from ramgru.lab.show.data import Answer, Curve, Line, Occupancy, Sample, Score, over_seeds

FORMAT = "ramgru-compare-2"

_NO_AXES = (
    *("score", "count", "low", "high", "chance", "plateau", "exact", "loss"),
    *("state_bytes", "bits_held", "bits_per_state_byte"),
)


@dataclass(frozen=True)
class Row:
    """One slice of an evaluation: where it lies, and what came out."""

    axes: dict[str, int]
    score: float
    count: int
    low: float
    high: float
    chance: float
    plateau: float | None = None


@dataclass(frozen=True)
class DistanceRow:
    """The score of the questions asked `low` to `high` steps after their write, its interval."""

    low: int
    high: int
    score: float
    count: int
    interval: tuple[float, float]


@dataclass(frozen=True)
class Run:
    """One training run and its evaluation.

    step_us: microseconds of one streaming step of one sequence. train_us: of a train step, a token.
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


@dataclass(frozen=True)
class Trial:
    """A learning rate that was tried, and what came of it.

    metric, loss: of the last evaluation on held-out data of the training sizes; None where the loss
    became infinite. step: where it ended. given_up: before the end of its budget, being behind.
    """

    layer: str
    lr: float
    metric: float | None
    loss: float | None
    step: int
    given_up: bool
    chosen: bool


@dataclass(frozen=True)
class Memory:
    """What was seen inside the RAM-GRU: cells in use at one slice, and one sample's answers."""

    run: str
    occupancy: Occupancy
    occupancy_axes: dict[str, int]
    sample: Sample | None = None


@dataclass(frozen=True)
class Results:
    """The layers on one task.

    runs: one a layer and seed. tried: all learning rates, where several were tried.
    trained: sizes of the training task on the axes of the evaluation.
    """

    task: str
    metric: str
    trained: dict[str, int]
    runs: list[Run]
    tried: list[Trial] = field(default_factory=list)
    memory: Memory | None = None

    @property
    def layers(self) -> list[str]:
        """Layers in the order in which they were trained."""
        return list(dict.fromkeys(run.layer for run in self.runs))

    def of(self, layer: str) -> list[Run]:
        """The runs of a layer, one a seed."""
        return [run for run in self.runs if run.layer == layer]

    def slices(self) -> list[dict[str, int]]:
        """The axes of each slice, in the order of the evaluation."""
        return [row.axes for row in self.runs[0].rows]

    def score(self, layer: str, axes: Mapping[str, int]) -> Score:
        """A layer's mean score at a slice: with several seeds, the interval is over seeds."""
        rows = [row for run in self.of(layer) for row in run.rows if row.axes == axes]
        return over_seeds([row.score for row in rows], rows[0].low, rows[0].high)

    def distances(self) -> list[Line]:
        """Scores by distance, a line a layer; x is where each range begins."""
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
    """A whole comparison: what was found on each task, and how to find it again."""

    tasks: list[Results]
    command: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def layers(self) -> list[str]:
        """Layers in the order in which they were trained, on any task."""
        return list(dict.fromkeys(layer for task in self.tasks for layer in task.layers))

    def to_json(self) -> str:
        """As text that `from_json` reads back."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str, source: str = "the file") -> Comparison:
    """A comparison as `to_json` wrote it.

    source: what the text came from, for the error message.
    Raises DataError: not JSON, of another format, or incomplete.
    """
    return saved.parsed(text, source, "comparison", FORMAT, _built)


def _built(data: dict[str, Any]) -> Comparison:
    return Comparison(**{**data, "tasks": [_of_task(values) for values in data["tasks"]]})


def _of_task(data: dict[str, Any]) -> Results:
    runs = [run_from_dict(run) for run in data["runs"]]
    tried = [Trial(**trial) for trial in data["tried"]]
    results = Results(**{**data, "runs": runs, "tried": tried, "memory": _memory(data["memory"])})
    for axes in results.slices():
        for layer in results.layers:
            results.score(layer, axes)
    return results


def run_from_dict(data: Mapping[str, Any]) -> Run:
    """A run as `asdict` gave it. Raises KeyError or TypeError where it is not whole."""
    rows = [Row(**row) for row in data["rows"]]
    distance = [DistanceRow(**row) for row in data["distance"]]
    return Run(**{**data, "rows": rows, "distance": distance, "curve": Curve(**data["curve"])})


def _memory(data: Mapping[str, Any] | None) -> Memory | None:
    if data is None:
        return None
    sample = data["sample"]
    if sample is not None:
        sample = Sample(sample["tokens"], [Answer(**answer) for answer in sample["answers"]])
    return Memory(**{**data, "occupancy": Occupancy(**data["occupancy"]), "sample": sample})


def read_evaluation(path: Path) -> tuple[dict[str, Any], list[Row], list[DistanceRow]]:
    """evaluation.json of a run: its head (task, metric, state_bytes, …), its rows, its distances.

    Raises DataError: missing, broken, or not an evaluation.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = [
            Row(
                axes={k: v for k, v in row.items() if k not in _NO_AXES and type(v) is int},
                score=row["score"],
                count=row["count"],
                low=row["low"],
                high=row["high"],
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
    """The learning curve in the events of a run's log; losses that are not finite are left out."""
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
