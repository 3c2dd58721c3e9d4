"""The tables of a comparison, for the page and the terminal alike: scores, costs, leaderboard.

The first cell of a row is a layer's label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from ramgru.lab.compare.results import Comparison, Results, Run
from ramgru.lab.show.data import Score, over_seeds
from ramgru.lab.show.sentences import bytes_text, percent, score_text, slice_text, time_text
from ramgru.lab.show.theme import look

UNKNOWN = "–"

# (heading, attribute of Run, its text); the mean over seeds is shown
COSTS: tuple[tuple[str, str, Callable[[float], str]], ...] = (
    ("parameters", "parameters", "{:,.0f}".format),
    ("state", "state_bytes", bytes_text),
    ("touched", "touched_bytes", bytes_text),
    ("streaming step", "step_us", time_text),
    ("train step", "train_us", time_text),
    ("steps", "steps", "{:,.0f}".format),
    ("seconds", "seconds", "{:,.0f}".format),
    ("bits held", "bits", "{:,.0f}".format),
    ("bits / state byte", "bits_per_state_byte", "{:.2g}".format),
)
# Budgets, and the bytes that only one kind of layer touches.
NO_CONTEST = ("parameters", "steps", "touched_bytes")


def is_ours(layer: str) -> bool:
    """Whether a specification is of a RAM-GRU."""
    return layer.split(",")[0] == "ramgru"


def label(results: Results | Comparison, layer: str) -> str:
    """A layer's label in the tables and pictures of these results."""
    return look(layer, results.layers.index(layer)).label


class Table(NamedTuple):
    """A header and rows of text; best: the cells (row, column) of a column's best values."""

    header: list[str]
    rows: list[list[str]]
    best: set[tuple[int, int]]


def best_of(
    columns: Sequence[Sequence[float | None]], most: Sequence[bool]
) -> set[tuple[int, int]]:
    """The cells (row, column) of the best values, where rows differ; the first column is 1.

    columns: the values of each column. most: whether the largest is the best one, column by column
    """
    found = set()
    for place, (values, largest) in enumerate(zip(columns, most, strict=True), 1):
        known = [value for value in values if value is not None]
        if len(set(known)) > 1:
            best = max(known) if largest else min(known)
            found |= {(row, place) for row, value in enumerate(values) if value == best}
    return found


def score_rows(results: Results) -> Table:
    """A row a layer, a column a slice; then the chance of a guess, and the plateau if known."""
    first, slices = results.runs[0].rows, results.slices()
    columns = [[results.score(layer, axes) for layer in results.layers] for axes in slices]
    rows = [
        [label(results, layer), *map(score_text, scores)]
        for layer, *scores in zip(results.layers, *columns, strict=True)
    ]
    rows.append(["chance", *(percent(row.chance) for row in first)])
    if any(row.plateau is not None for row in first):
        known = ["" if row.plateau is None else percent(row.plateau) for row in first]
        rows.append(["plateau", *known])
    means = [[score.mean for score in scores] for scores in columns]
    header = ["layer", *map(slice_text, slices)]
    return Table(header, rows, best_of(means, [True] * len(means)))


def cost_rows(results: Results) -> Table:
    """A row a layer, a column a cost; costs that are unknown for every layer are left out."""
    header, rows = ["layer"], [[label(results, layer)] for layer in results.layers]
    columns, most = [], []
    for heading, name, text in COSTS:
        means = [results.mean(layer, name) for layer in results.layers]
        if any(mean is not None for mean in means):
            header.append(heading)
            for row, mean in zip(rows, means, strict=True):
                row.append(UNKNOWN if mean is None else text(mean))
            columns.append([None] * len(means) if name in NO_CONTEST else means)
            most.append(name.startswith("bits"))
    return Table(header, rows, best_of(columns, most))


@dataclass(frozen=True)
class Standing:
    """A layer's place on the leaderboard.

    layer:   its specification
    mean:    over tasks, of (score - chance) / (1 - chance), with the interval over seeds; None if
             the layer lacks a task
    tasks:   {task: its score, the mean over the slices of the evaluation}
    state_bytes, step_us, train_us: means over tasks and seeds
    """

    layer: str
    mean: Score | None
    tasks: dict[str, Score]
    state_bytes: float
    step_us: float | None
    train_us: float | None


def standings(comparison: Comparison) -> list[Standing]:
    """All layers, the best first; layers that lack a task come last."""
    found = [_standing(comparison, layer) for layer in comparison.layers]
    return sorted(found, key=lambda s: -1.0 if s.mean is None else s.mean.mean, reverse=True)


def leaderboard_rows(comparison: Comparison) -> Table:
    """A row a layer, the best first: its mean above chance, its score on each task, its costs."""
    tasks, places = [task.task for task in comparison.tasks], standings(comparison)
    header = ["layer", "mean above chance", *tasks, "state", "train step", "streaming step"]
    scores = [[place.mean, *(place.tasks.get(task) for task in tasks)] for place in places]
    times = [[place.train_us, place.step_us] for place in places]
    rows = [
        [
            look(place.layer).label,
            *(UNKNOWN if score is None else score_text(score) for score in shares),
            bytes_text(place.state_bytes),
            *(UNKNOWN if time is None else time_text(time) for time in spent),
        ]
        for place, shares, spent in zip(places, scores, times, strict=True)
    ]
    means = [[None if score is None else score.mean for score in shares] for shares in scores]
    costs = [[place.state_bytes, *spent] for place, spent in zip(places, times, strict=True)]
    most = [True] * len(means[0]) + [False] * len(costs[0])
    return Table(header, rows, best_of([*zip(*means), *zip(*costs)], most))


def _standing(comparison: Comparison, layer: str) -> Standing:
    tasks = [task for task in comparison.tasks if layer in task.layers]
    runs = [run for task in tasks for run in task.of(layer)]
    means = {}
    for task in tasks:
        scores = [sum(row.score for row in run.rows) / len(run.rows) for run in task.of(layer)]
        means[task.task] = over_seeds(scores, None, None)
    return Standing(
        layer,
        _mean(tasks, layer) if len(tasks) == len(comparison.tasks) else None,
        means,
        sum(run.state_bytes for run in runs) / len(runs),
        _known([run.step_us for run in runs]),
        _known([run.train_us for run in runs]),
    )


def _above_chance(run: Run) -> float:
    """The mean over slices; 0 at chance and below, 1 if every answer is right."""
    each = [max(0.0, (row.score - row.chance) / (1 - row.chance)) for row in run.rows]
    return sum(each) / len(each)


def _mean(tasks: list[Results], layer: str) -> Score:
    """The interval is over the seeds that every task has, each averaged over tasks."""
    each = [{run.seed: _above_chance(run) for run in task.of(layer)} for task in tasks]
    seeds = sorted(set.intersection(*(set(of) for of in each)))
    if not seeds:
        return Score(sum(sum(of.values()) / len(of) for of in each) / len(each))
    return over_seeds([sum(of[seed] for of in each) / len(each) for seed in seeds], None, None)


def _known(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
