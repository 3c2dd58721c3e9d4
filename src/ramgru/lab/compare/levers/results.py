"""What a study of the levers found, as plain data: kept as JSON and as tidy CSV.

A report is drawn from this alone, so that it can be drawn again without training.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ramgru.lab.compare import saved
from ramgru.lab.compare.levers.capacity import Capacity, capacity
from ramgru.lab.compare.levers.cost import FLOAT, Cost
from ramgru.lab.compare.levers.points import DEFAULT
from ramgru.lab.compare.results import Row, Run, run_from_dict
from ramgru.lab.evaluate.capacity import bits_held
from ramgru.lab.show.data import Score, over_seeds

FORMAT = "ramgru-study-1"
PAIRS = "pairs"  # the axis on which capacity and bits are counted
_ABOUT = (
    *("levers", "point", "run", "seed", "parameters", "state_bytes", "steps", "seconds"),
    *("step_us", "train_us", "touched_bytes", "backward_bytes"),
    *("bits", "bits_per_state_bit", "bits_per_written_bit", "bits_per_parameter"),
)
_MEASURED = ("score", "count", "low", "high", "chance", "plateau", "written")


@dataclass(frozen=True)
class PointRun:
    """One run of one point, and what it costs."""

    point: str
    run: Run
    cost: Cost

    @property
    def counted(self) -> list[tuple[int, Row]]:
        """(pairs, row) of the sizes that have pairs: of equally many pairs the last."""
        return sorted({row.axes[PAIRS]: row for row in self.run.rows if PAIRS in row.axes}.items())

    @property
    def capacity(self) -> Capacity | None:
        """None where the task has no pairs."""
        if not self.counted:
            return None
        return capacity([n for n, _ in self.counted], [row.score for _, row in self.counted])

    @property
    def bits(self) -> float | None:
        """Bits recalled at the size at which they are most; None where the task has no pairs."""
        each = [bits_held(n, row.score, row.chance) for n, row in self.counted]
        return max(each, default=None)

    @property
    def bits_per_state_bit(self) -> float | None:
        """Of all cells, used or not, and the rest of the state, at 32 bits a float."""
        return None if self.bits is None else self.bits / (8 * self.run.state_bytes)

    @property
    def bits_per_written_bit(self) -> float | None:
        """At the size at which it is most: of the cells that one sequence writes alone."""
        each = [
            bits_held(row.axes[PAIRS], row.score, row.chance)
            / (8 * FLOAT * self.cost.cell_floats * written)
            for row, written in zip(self.run.rows, self.cost.written, strict=True)
            if PAIRS in row.axes and written
        ]
        return max(each, default=None)

    @property
    def bits_per_parameter(self) -> float | None:
        return None if self.bits is None else self.bits / self.run.parameters


@dataclass(frozen=True)
class Results:
    """A whole study.

    levers: {lever: names of its points, in order}. options: {point: what is otherwise than in the
    default}. runs: one a point and seed. failed: {run that came to nothing: why}.
    trained: sizes of the training task on the axes of the evaluation.
    """

    task: str
    metric: str
    trained: dict[str, int]
    levers: dict[str, list[str]]
    options: dict[str, dict[str, Any]]
    runs: list[PointRun]
    failed: dict[str, str] = field(default_factory=dict)
    command: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    machine: dict[str, str] = field(default_factory=dict)

    @property
    def points(self) -> list[str]:
        """The names of all points that have a run, the default first, each once."""
        names = [DEFAULT, *(name for points in self.levers.values() for name in points)]
        there = {run.point for run in self.runs}
        return [name for name in dict.fromkeys(names) if name in there]

    def of_lever(self, lever: str) -> list[str]:
        """The points of a lever that have a run."""
        return [name for name in self.levers[lever] if name in self.points]

    def of(self, point: str) -> list[PointRun]:
        """The runs of a point, one a seed."""
        return [run for run in self.runs if run.point == point]

    def rows(self) -> list[Row]:
        """The slices of the evaluation, in order, as the first run has them."""
        return self.runs[0].run.rows

    def score(self, point: str, axes: Mapping[str, int]) -> Score:
        """A point's mean score at a slice: with several seeds, the interval is over seeds."""
        rows = [row for each in self.of(point) for row in each.run.rows if row.axes == axes]
        return over_seeds([row.score for row in rows], rows[0].low, rows[0].high)

    def mean(self, point: str, value: Callable[[PointRun], float | None]) -> float | None:
        """The mean of a number over a point's seeds; None where it is not known of each."""
        each = [value(run) for run in self.of(point)]
        known = [number for number in each if number is not None]
        return sum(known) / len(known) if known and len(known) == len(each) else None

    def capacity(self, point: str) -> Capacity | None:
        """The capacity of a point: of its mean recall over seeds; None where there are no pairs."""
        first = self.of(point)[0]
        if not first.counted:
            return None
        sizes = [pairs for pairs, _ in first.counted]
        return capacity(sizes, [self.score(point, row.axes).mean for _, row in first.counted])

    def to_json(self) -> str:
        """As text that `from_json` reads back."""
        return json.dumps({"format": FORMAT, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"

    def to_csv(self) -> str:
        """Tidy data: one line a run and slice, with the cost and the bits of the run."""
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        axes = list(dict.fromkeys(axis for row in self.rows() for axis in row.axes))
        levers = {name: [k for k, of in self.levers.items() if name in of] for name in self.points}
        lines.writerow([*_ABOUT, *axes, *_MEASURED])
        for each in self.runs:
            run, cost = each.run, each.cost
            facts = {"levers": " ".join(levers[each.point]), "run": run.name}
            about = [
                facts.get(name, getattr(each, name, getattr(cost, name, getattr(run, name, None))))
                for name in _ABOUT
            ]
            for row, written in zip(run.rows, cost.written, strict=True):
                where = [row.axes.get(axis) for axis in axes]
                score = (row.score, row.count, row.low, row.high, row.chance, row.plateau, written)
                lines.writerow([*about, *where, *score])
        return text.getvalue()


def point_run(point: str, result: Mapping[str, Any]) -> PointRun:
    """A run from what a worker said of it. Raises KeyError or TypeError where that is not whole."""
    return PointRun(point, run_from_dict(result["run"]), Cost(**result["cost"]))


def from_json(text: str, source: str = "the file") -> Results:
    """Results as `to_json` wrote them.

    source: what the text came from, for the error message.
    Raises DataError: not JSON, of another format, or incomplete.
    """
    return saved.parsed(text, source, "study", FORMAT, _built)


def _built(data: dict[str, Any]) -> Results:
    data["runs"] = [point_run(run["point"], run) for run in data["runs"]]
    results = Results(**data)
    for point in results.points:
        for row in results.rows():
            results.score(point, row.axes)
    return results
