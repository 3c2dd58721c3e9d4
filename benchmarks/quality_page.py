"""What was found for the rows that are finished, as quality.json, quality.md and its pictures."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pages import standalone
from quality_rows import Bar, Row
from quality_runs import chosen, folder_of, measurement

from ramgru import files
from ramgru.lab.compare import runs
from ramgru.lab.compare.results import curve_of
from ramgru.lab.show import plots, svg
from ramgru.lab.show.data import Line, Score, over_seeds
from ramgru.lab.show.plots import percent
from ramgru.lab.show.sentences import joined, slice_text
from ramgru.lab.train import TrainConfig, log
from ramgru.lab.train.build import RAMOptions, build_model, count_parameters
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.run import LOG

PAGE, DATA, IMAGES = "quality.md", "quality.json", Path("..", "images", "quality")
COMMAND = "python benchmarks/quality.py"
LONGEST = Bar("seconds", most=15 * 60, every=True)  # of a training
# What is no share: how it is called.
COUNTED = {
    "seconds": "seconds",
    "steps": "steps",
    "cost": "cost, bits a sequence",
    "wrong": "wrong bits a sequence",
}
NAMES = {**COUNTED, "reached": "target reached", "kept": "cells with the same bits"}


@dataclass(frozen=True)
class Cell:
    """One value at one size, over seeds.

    each: a value a seed; met: None where there is no bar; chance: None where it has no meaning
    """

    size: str
    value: str
    bar: str
    each: list[float]
    mean: float
    low: float | None
    high: float | None
    chance: float | None
    met: bool | None


@dataclass(frozen=True)
class Found:
    """A row whose runs are finished, those of `seeds` at least; run: one entry a seed."""

    row: Row
    training: TrainConfig
    folders: list[Path]
    seeds: list[int]
    steps: list[int]
    parameters: int
    machines: list[str]
    cells: list[Cell]

    @property
    def judged(self) -> list[bool]:
        """Of each bar, whether it is met."""
        return [cell.met for cell in self.cells if cell.met is not None]

    def like(self, cell: Cell) -> Cell | None:
        """The same value at the same size here, where it was measured."""
        return next((c for c in self.cells if (c.size, c.value) == (cell.size, cell.value)), None)

    def beats(self, other: Found) -> list[bool]:
        """Of each share that was measured of both, whether it is higher here."""
        pairs = [(cell, other.like(cell)) for cell in self.cells if cell.value not in COUNTED]
        return [mine.mean > peer.mean for mine, peer in pairs if peer is not None]


def write(
    rows: Sequence[Row], root: Path, folder: Path, common: RAMOptions, seeds: Sequence[int] = ()
) -> Path | None:
    """The page of all rows that are finished; -> its path, or None where none is.

    common: the options of the layer that rows have unless they say so
    """
    every = [collect(row, root, seeds) for row in rows]
    found = {each.row.name: each for each in every if each is not None}
    if not found:
        return None
    images = folder / IMAGES
    images.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    lines = _head(rows, found, common)
    for each in found.values():
        above = found.get(each.row.above or "")
        lines += ["", f"## {each.row.name}", "", each.row.claim, ""]
        if each.row.picture:
            files.write(images / f"{each.row.name}.svg", _picture(each, above))
            lines += [f"![{_alt(each.row)}]({IMAGES.as_posix()}/{each.row.name}.svg)", ""]
        lines += [*_table(each, above), "", _recipe(each, common)]
    files.write_json(folder / DATA, {name: _plain(each) for name, each in found.items()})
    return files.write(folder / PAGE, "\n".join(lines) + "\n")


def collect(row: Row, root: Path, seeds: Sequence[int] = ()) -> Found | None:
    """What the finished runs of a row came to; None where there is none."""
    training = chosen(row, root)
    if training is None:
        return None
    folders, known = [], []
    for seed in seeds or row.seeds:
        folder = folder_of(replace(training, seed=seed), root)
        answered = all(measurement(question, folder).exists() for question in row.questions)
        if answered and runs.finished(folder):
            folders.append(folder)
            known.append(seed)
    if not known:
        return None
    ends = [_end(folder) for folder in folders]
    cells, machines = [], []
    for question in row.questions:
        papers = [measurement(question, folder) for folder in folders]
        read = [json.loads(paper.read_text(encoding="utf-8")) for paper in papers]
        machines += [", ".join(f"{k} {v}" for k, v in each["machine"].items()) for each in read]
        values = [each["found"] for each in read]
        for bar in question.bars:
            cells.append(_cell(slice_text(question.axes), bar, values, question.task.metric))
    seconds = [{"seconds": float(end["seconds"])} for end in ends]
    cells.append(_cell("a training", LONGEST, seconds, ""))
    return Found(
        row,
        training,
        folders,
        known,
        [int(end["step"]) for end in ends],
        count_parameters(build_model(training.model, training.task)),
        list(dict.fromkeys(machines)),
        cells,
    )


def _end(folder: Path) -> dict[str, Any]:
    return next(e for e in reversed(log.read(folder / LOG)) if e.get("event") == "end")


def _cell(size: str, bar: Bar, values: Sequence[Mapping[str, float]], metric: str) -> Cell:
    each = [float(value[bar.value]) for value in values]
    score = over_seeds(each, None, None, most=math.inf if bar.value in COUNTED else 1.0)
    bounds = [
        f"{sign} {_text(bound, bar.value)}"
        for sign, bound in (("≥", bar.least), ("≤", bar.most))
        if bound is not None
    ]
    return Cell(
        size=size,
        value=bar.value,
        bar=" and ".join(bounds) + (", each seed" if bar.every and len(each) > 1 else ""),
        each=each,
        mean=score.mean,
        low=score.low,
        high=score.high,
        chance=values[0].get("chance") if bar.value == "score" else None,
        met=bar.holds(each),
    )


def _text(value: float, name: str) -> str:
    if name not in COUNTED:
        return percent(value)
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.2g}"


def _label(cell: Cell, metric: str) -> str:
    if cell.value == "score":
        return metric
    whole, _, kind = cell.value.partition(" ")
    if whole == "exact":
        return f"whole answers, {kind}" if kind else "whole answers"
    return NAMES[cell.value]


def _head(rows: Sequence[Row], found: Mapping[str, Found], common: RAMOptions) -> list[str]:
    options = _differences(common, RAMOptions())
    machines = dict.fromkeys(machine for each in found.values() for machine in each.machines)
    missing = [row.name for row in rows if row.name not in found]
    lines = [
        "# Quality of the memory",
        "",
        f"Written by `{COMMAND}`; do not edit. `{DATA}` beside it holds the values of each seed.",
        "",
        "Each row is a claim: one training a seed, and what its model answers at sizes that it was "
        f"not trained on. All rows have one configuration of the layer, {options}, but for what a "
        "row itself names. A bar is held against the mean over seeds where it does not say "
        "“each seed”; intervals are Student's 95 % intervals over seeds.",
        "",
        "| row | bars met | seeds | steps | seconds a training |",
        "|---|---:|---:|---:|---:|",
    ]
    for name, each in found.items():
        met = f"{sum(each.judged)} of {len(each.judged)}"
        if above := found.get(each.row.above or ""):
            higher = each.beats(above)
            met += f", above {above.row.name} in {sum(higher)} of {len(higher)}"
        cells = [met, _seeds(each), f"{max(each.steps):,}", f"{each.cells[-1].mean:,.0f}"]
        lines.append(f"| [{name}](#{name}) | {' | '.join(cells)} |")
    if missing:
        lines += ["", f"Not measured yet: {joined(missing)}."]
    return [*lines, "", f"Machine: {'; '.join(machines)}."]


def _seeds(found: Found) -> str:
    have, wanted = len(found.seeds), len(found.row.seeds)
    return str(have) if have >= wanted else f"{have} of {wanted} so far"


def _table(found: Found, above: Found | None) -> list[str]:
    """Markdown lines: a line a value; beside it, where this row is to beat another, its value."""
    heads = ["", "", "bar", "mean", "95 % interval", "worst seed", "chance", "met"]
    if above:
        heads += [above.row.name, "above it"]
    lines = [f"| {' | '.join(heads)} |", "|---|---|" + "---:|" * (len(heads) - 2)]
    for cell in found.cells:

        def text(value: float, name: str = cell.value) -> str:
            return _text(value, name)

        interval = ""
        if cell.low is not None and cell.high is not None:
            interval = f"{text(cell.low)} – {text(cell.high)}"
        met = "" if cell.met is None else "yes" if cell.met else "no"
        chance = "" if cell.chance is None else percent(cell.chance)
        worst = max(cell.each) if cell.value in COUNTED else min(cell.each)
        shown = [cell.size, _label(cell, found.training.task.metric), cell.bar, text(cell.mean)]
        shown += [interval, text(worst), chance, met]
        if above:
            peer = above.like(cell)
            higher = "yes" if peer is not None and cell.mean > peer.mean else "no"
            shown += [text(peer.mean) if peer else "", "" if cell.value in COUNTED else higher]
        lines.append(f"| {' | '.join(shown)} |")
    return lines


def _recipe(found: Found, common: RAMOptions) -> str:
    training, row = found.training, found.row
    sizes = ", ".join(f"{name}={value!r}" for name, value in training.task.options().items())
    own = ""
    if training.model.layer != "ramgru":
        own = f" The layer is {training.model.layer}."
    elif training.model.ram != common:
        own = f" The layer has {_differences(training.model.ram, common)}."
    tried = ""
    if row.rates:
        rates = joined([f"{rate:g}" for rate in row.rates])
        tried = f" (of {rates}, by the held-out loss on seed {row.seeds[0]})"
    return (
        f"Trained on {training.task.name} ({sizes}): at most {training.total_steps:,} steps of "
        f"{training.batch_size} sequences, "
        f"{'easy sizes first' if training.curriculum else 'no curriculum'}, learning rate "
        f"{training.lr:g}{tried}, {found.parameters:,} parameters.{own} Seeds: "
        f"{', '.join(map(str, found.seeds))}. Again: `{COMMAND} {row.name}`."
    )


def _differences(options: RAMOptions, base: RAMOptions) -> str:
    values, usual = asdict(options), asdict(base)
    return ", ".join(f"`{k}={v!r}`" for k, v in values.items() if v != usual[k]) or "the default"


def _alt(row: Row) -> str:
    if row.picture == "curves":
        return f"{row.training.task.metric} and loss of each seed while training"
    return f"{row.training.task.metric} against {row.picture}"


def _picture(found: Found, above: Found | None) -> str:
    row, task = found.row, found.training.task
    if row.picture == "curves":
        layer = found.training.model.layer
        figure = plots.learning_curves(
            [
                curve_of(log.read(folder / LOG), layer, seed, task.metric)
                for folder, seed in zip(found.folders, found.seeds)
            ],
            metric=task.metric,
        )
    else:
        axis = str(row.picture)
        at = {slice_text(question.axes): question.axes[axis] for question in row.questions}
        plateau = {question.axes[axis]: question.task.plateau for question in row.questions}
        figure = plots.recall_against_pairs(
            [_line(each, at) for each in (found, above) if each is not None],
            trained=task.options()[axis],
            chance=found.cells[0].chance,
            plateau={x: value for x, value in plateau.items() if value is not None},
            axis=axis,
            metric=task.metric,
        )
    name = row.name.replace("_", "-")
    return standalone(svg.inline(figure, f"quality-{name}", _alt(row)), row.name)


def _line(found: Found, at: Mapping[str, int]) -> Line:
    """Scores of a row against an axis. at: of each size, where on the axis it lies."""
    shown = [cell for cell in found.cells if cell.value == "score" and cell.size in at]
    scores = [Score(cell.mean, cell.low, cell.high) for cell in shown]
    return Line(found.training.model.layer, [at[cell.size] for cell in shown], scores)


def _plain(found: Found) -> dict[str, Any]:
    """A row as JSON values."""
    training = to_dict(found.training)
    for name in ("out", "resume", "seed"):  # where a run is, and what differs from seed to seed
        training.pop(name, None)
    return {
        "claim": found.row.claim,
        "command": f"{COMMAND} {found.row.name}",
        "machine": found.machines,
        "seeds": found.seeds,
        "steps": found.steps,
        "parameters": found.parameters,
        "cells": [asdict(cell) for cell in found.cells],
        "training": training,
    }
