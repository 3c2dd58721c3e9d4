"""The page writer: the stored results of a page as Markdown and pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import claims_bytes
from claims_rows import Bar, Page, Question, Row
from claims_runs import Record
from pages import COMMAND, marked, picture, table

from ramgru import files
from ramgru.lab.compare.tables import best_of
from ramgru.lab.show import plots
from ramgru.lab.show.data import Curve, Line, Score, over_seeds
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.sentences import joined, slice_text
from ramgru.lab.train import ModelConfig

LONGEST = Bar("seconds", most=15 * 60, every=True)  # of a training
# Values that are not shares, and their labels.
COUNTED = {
    "seconds": "seconds",
    "steps": "steps",
    "cost": "cost, bits per sequence",
    "wrong": "wrong bits per sequence",
}
LABELS = {
    **COUNTED,
    "reached": "target reached",
    "kept": "cells with the same bits",
    "last": "recall where the last write wins",
    "gain": "recall above that",
}


@dataclass(frozen=True)
class Value:
    """One measured value at one size, over seeds."""

    size: str
    bar: Bar
    each: list[float]
    chance: float | None = None

    @property
    def score(self) -> Score:
        """Mean and Student's 95 % interval."""
        most = math.inf if self.bar.value in COUNTED else 1.0
        return over_seeds(self.each, None, None, most=most)

    def text(self, number: float) -> str:
        """A share in percent; any other value as a number."""
        if self.bar.value not in COUNTED:
            return percent(number)
        return f"{number:,.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"

    def bounds(self) -> str:
        bar = self.bar
        found = [
            f"{sign} {self.text(bound)}"
            for sign, bound in (("≥", bar.least), ("≤", bar.most))
            if bound is not None
        ]
        return " and ".join(found) + (", each seed" if bar.every and len(self.each) > 1 else "")

    def interval(self) -> str:
        low, high = self.score.low, self.score.high
        return "" if low is None or high is None else f"{self.text(low)} – {self.text(high)}"

    def label(self, metric: str) -> str:
        name = self.bar.value
        if name == "score":
            return metric
        whole, _, kind = name.partition(" ")
        if whole == "exact":
            return f"whole answers, {kind}" if kind else "whole answers"
        return LABELS[name]


@dataclass(frozen=True)
class Found:
    """A row and its stored results."""

    row: Row
    record: Record

    @property
    def seeds(self) -> dict[str, Any]:
        return dict(self.record["seeds"])

    def of(self, question: int, bar: Bar) -> Value:
        """One value of one question."""
        asked = self.row.questions[question]
        each = [seed["found"][question] for seed in self.seeds.values()]
        chance = each[0].get("chance") if bar.value == "score" else None
        return Value(_size(asked), bar, [float(one[bar.value]) for one in each], chance)

    @property
    def seconds(self) -> Value:
        """The time of a training."""
        each = [float(seed["seconds"]) for seed in self.seeds.values()]
        return Value("a training", LONGEST, each)

    @property
    def values(self) -> list[Value]:
        """All values, one per bar, then the time."""
        questions = enumerate(self.row.questions)
        return [self.of(n, bar) for n, q in questions for bar in q.bars] + [self.seconds]

    @property
    def judged(self) -> list[bool]:
        """For each bar with bounds, whether the values meet it."""
        met = [value.bar.holds(value.each) for value in self.values]
        return [each for each in met if each is not None]

    def like(self, value: Value) -> Value | None:
        """The same value at the same size, measured in this row."""
        same = (v for v in self.values if (v.size, v.bar.value) == (value.size, value.bar.value))
        return next(same, None)

    def beats(self, other: Found) -> list[bool]:
        """For each share that both rows measured, whether it is higher here."""
        pairs = [(value, other.like(value)) for value in self.values]
        return [
            mine.score.mean > peer.score.mean
            for mine, peer in pairs
            if peer is not None and mine.bar.value not in COUNTED
        ]

    @property
    def machines(self) -> list[str]:
        return list(dict.fromkeys(seed["machine"] for seed in self.seeds.values()))


def _size(question: Question) -> str:
    return slice_text(question.axes) if question.axes else "sizes as trained"


def write(page: Page, records: Mapping[str, Record], docs: Path) -> Path | None:
    """The page with its pictures below `docs`; -> its path, or None without any results."""
    found = {row.name: Found(row, records[row.name]) for row in page.rows if row.name in records}
    if not found:
        return None
    folder = docs / "study"
    folder.mkdir(parents=True, exist_ok=True)
    named = ", by the names of rows that the command takes" if page.compact else ""
    lines = [
        f"# {page.title}",
        "",
        f"Written by `{COMMAND} {page.name}`; do not edit. `{page.name}.json` beside this page "
        f"holds the values of each seed{named}.",
        "",
        f"{page.text} The layer has the library's defaults unless a row names a change. "
        "A bar is on the mean over seeds unless it says “each seed”; intervals are Student's "
        "95 % intervals over seeds. Tests draw sequences that training never draws.",
        "",
        *(_compact if page.compact else _summary)(found),
    ]
    if missing := [row.name for row in page.rows if row.name not in found]:
        lines += [f"Not measured at this state of the code: {joined(missing)}.{page.missing}", ""]
    for name in dict.fromkeys(m for each in found.values() for m in each.machines):
        lines += [f"Machine: {name}.", ""]
    if page.compact:
        figure = claims_bytes.draw(found)
        lines += picture(figure, page.name, "recall", "recall by state", docs, "../")
    else:
        for each in found.values():
            lines += _section(page, each, found.get(each.row.above or ""), docs)
    return files.write(folder / f"{page.name}.md", "\n".join(lines).rstrip() + "\n")


def _summary(found: Mapping[str, Found]) -> list[str]:
    """One line per row."""
    rows = []
    for name, each in found.items():
        met = f"{sum(each.judged)} of {len(each.judged)}"
        if above := found.get(each.row.above or ""):
            higher = each.beats(above)
            met += f", above {above.row.name} in {sum(higher)} of {len(higher)}"
        steps = max(seed["steps"] for seed in each.seeds.values())
        seconds = f"{each.seconds.score.mean:,.0f}"
        link = name.replace(".", "")  # as headings are linked to
        rows.append([f"[{name}](#{link})", met, _seeds(each), f"{steps:,}", seconds])
    return table(["row", "bars met", "seeds", "steps", "seconds a training"], rows)


def _seeds(found: Found) -> str:
    have, wanted = len(found.seeds), len(found.row.seeds)
    return str(have) if have >= wanted else f"{have} of {wanted} so far"


def _compact(found: Mapping[str, Found]) -> list[str]:
    """One line per row, one column per question; the best of a column is bold."""
    first = next(iter(found.values()))
    asked = range(len(first.row.questions))
    header = ["", "state", "parameters", *map(_size, first.row.questions), "seeds", "rate"]
    rows, means = [], []
    for each in found.values():
        values = [each.of(number, Bar()) for number in asked]
        means.append([value.score.mean for value in values])
        shown = [f"{percent(v.score.mean)}\n{v.interval()}".rstrip() for v in values]
        name, state = claims_bytes.title(each), bytes_text(claims_bytes.held(each))
        cells = [name, state, f"{each.record['parameters']:,}", *shown]
        rows.append([*cells, _seeds(each), f"{each.record['lr']:g}"])
    best = best_of(list(zip(*means)), [True] * len(asked))
    return table(header, marked(rows, {(row, column + 2) for row, column in best}))


def _section(page: Page, found: Found, above: Found | None, docs: Path) -> list[str]:
    """The claim of a row, its picture, its values, and how to repeat it."""
    row = found.row
    source = f" ({row.source})" if row.source else ""
    lines = [f"## {row.name}", "", f"{row.claim.removesuffix('.')}{source}.", ""]
    if row.picture:
        metric = row.training.task.metric
        curves = row.picture == "curves"
        alt = f"{metric} and loss by step" if curves else f"{metric} against {row.picture}"
        figure = _curves(found) if curves else _against(found, above)
        lines += picture(figure, page.name, row.name, alt, docs, "../")
    heads = ["", "", "bar", "mean", "95 % interval", "worst seed", "chance", "met"]
    if above:
        heads += [above.row.name, "above it"]
    lines += table(heads, [_line(found, value, above) for value in found.values])
    return [*lines, _recipe(page, found), ""]


def _line(found: Found, value: Value, above: Found | None) -> list[str]:
    met = value.bar.holds(value.each)
    counted = value.bar.value in COUNTED
    cells = [
        value.size,
        value.label(found.row.training.task.metric),
        value.bounds(),
        value.text(value.score.mean),
        value.interval(),
        value.text(max(value.each) if counted else min(value.each)),
        "" if value.chance is None else percent(value.chance),
        "" if met is None else "yes" if met else "no",
    ]
    if above:
        peer = above.like(value)
        higher = peer is not None and value.score.mean > peer.score.mean
        cells += [
            "" if peer is None else peer.text(peer.score.mean),
            "" if counted else "yes" if higher else "no",
        ]
    return cells


def _recipe(page: Page, found: Found) -> str:
    """The training of a row in a sentence, and the command that repeats it."""
    row, training = found.row, found.row.training
    sizes = ", ".join(f"{name}={value!r}" for name, value in training.task.options().items())
    tried = ""
    if row.rates:
        rates = joined([f"{rate:g}" for rate in row.rates])
        tried = f" (of {rates}, by the held-out loss on seed {row.seeds[0]})"
    order = "easy sizes first" if training.curriculum else "no curriculum"
    seeds = ", ".join(found.seeds)
    return (
        f"Trained on {training.task.name} ({sizes}): at most {training.total_steps:,} steps of "
        f"{training.batch_size} sequences, {order}, learning rate {found.record['lr']:g}{tried}, "
        f"{found.record['parameters']:,} parameters, {bytes_text(found.record['state_bytes'])} of "
        f"state a sequence.{_changes(row)} Seeds: {seeds}. "
        f"Again: `{COMMAND} {page.name} {row.name}`."
    )


def _changes(row: Row) -> str:
    """How the model of a row differs from the defaults, and why."""
    model, usual = row.training.model, ModelConfig()
    if model.layer != "ramgru":
        shape = f", {model.num_layers} of width {model.d_model}"
        own = (model.num_layers, model.d_model) != (usual.num_layers, usual.d_model)
        return f" The layer is `{model.layer}`{shape if own else ''}."
    memory, usual_memory = model.memory.to_dict(), usual.memory.to_dict()
    changed = [
        f"`{name}={value!r}`" for name, value in memory.items() if value != usual_memory[name]
    ]
    if not changed:
        return ""
    return f" Changed from the default memory: {joined(changed)}, {row.changes}."


# Pictures


def _curves(found: Found) -> Any:
    curves = [Curve(**seed["curve"]) for seed in found.seeds.values()]
    metric = found.row.training.task.metric
    figure = plots.learning_curves(curves, metric)
    return plots.titled(figure, plots.curves_finding(curves, metric))


def _against(found: Found, above: Found | None) -> Any:
    row = found.row
    axis = str(row.picture)
    plateau = {question.axes[axis]: question.task.plateau for question in row.questions}
    lines = [_by_axis(each, axis) for each in (found, above) if each is not None]
    metric = row.training.task.metric
    figure = plots.recall_against_pairs(
        lines,
        trained=row.training.task.options()[axis],
        chance=found.of(0, Bar()).chance,
        plateau={x: value for x, value in plateau.items() if value is not None},
        axis=axis,
        metric=metric,
    )
    return plots.titled(figure, plots.scores_finding(lines, axis, metric))


def _by_axis(found: Found, axis: str) -> Line:
    xs = [question.axes[axis] for question in found.row.questions]
    scores = [found.of(number, Bar()).score for number in range(len(xs))]
    return Line(found.row.training.model.layer, xs, scores)
