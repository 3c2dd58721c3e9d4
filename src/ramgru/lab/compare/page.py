"""The report of a comparison: over all tasks, then task by task, then how to repeat it.

Everything is drawn from the saved results, and every caption is computed from them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ramgru.lab.compare import findings, levers, tables
from ramgru.lab.compare.results import Comparison, Memory, Results
from ramgru.lab.compare.tables import (
    Standing,
    cost_rows,
    is_ours,
    label,
    leaderboard_rows,
    score_rows,
    standings,
)
from ramgru.lab.show import memory_plots, plots, sentences
from ramgru.lab.show.data import Line, Point
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts
from ramgru.lab.show.sentences import joined, percent, slice_text
from ramgru.lab.show.theme import look

EQUAL = {
    "parameters": ", with the same number of parameters as the RAM-GRU",
    "state": ", with at most {:,} bytes of recurrent state at the training length",
}
CHARGED = (
    "The write cost, an auxiliary loss on open update gates, is charged to ramgru layers only: no "
    "other layer trains with an auxiliary loss."
)
GROWS = (
    " The state of attention grows with the sequence; the table shows its bytes at the end of the "
    "longest one."
)
COSTS = (
    "State: bytes that one sequence carries. Touched: bytes of memory cells that one step reads or "
    "writes, in ramgru layers. Streaming step: the median time of one step of one sequence. Train "
    "step: its time per token. Times are of one process among those that ran at the same time. "
    "Bits held: pairs times log2 M − H2(p) − (1 − p) log2(M − 1), the information of answers that "
    "are right with probability p among M values, at the size at which it is largest."
)
BOARD = (
    "A task's score is the mean over all sizes of its evaluation, most of them far beyond "
    "training. The first column is the mean over tasks of (score - chance) / (1 - chance). Below "
    "each score stands its 95 % interval over seeds. State: the mean over tasks, at the longest "
    "size if it grows. Train step: its time per token; streaming step: one step of one sequence."
)


def page(comparison: Comparison) -> Page:
    """The whole report."""
    names = [label(comparison, layer) for layer in comparison.layers]
    several = len(comparison.tasks) > 1
    parts = _overall(comparison) if several else []
    for task in comparison.tasks:
        for section in _of_task(task, comparison.config):
            title = f"{task.task}: {section.title}" if several else section.title
            parts.append(Section(title, section.parts))
    parts.append(Section("Repeat it", _recipe(comparison)))
    who = names[0] if len(names) == 1 else f"{names[0]} beside {joined(names[1:])}"
    if len(names) > 4:
        who = f"{len(names)} layers"
    return Page(
        f"{who} on {joined([task.task for task in comparison.tasks])}",
        findings.over_tasks(comparison) if several else findings.headline(comparison.tasks[0]),
        parts,
        footer=f"Made by ramgru {comparison.machine.get('ramgru', '')}".rstrip(),
    )


def _of_task(results: Results, config: Mapping[str, Any]) -> list[Section]:
    """The sections of one task, lever by lever if there are levers."""
    found = []
    for lever, layers in results.groups.items():
        shown = results.only(layers)
        if shown.runs:
            question = levers.LEVERS.get(lever, ("", {}))[0]
            title = f"{lever.capitalize()}: {question}"
            found.append(Section(title, [*_scores(shown, config), *_sizes(shown)]))
    if not found:
        found = [
            Section("Scores", _scores(results, config)),
            Section(f"{results.metric.capitalize()} against size", _sizes(results)),
        ]
        if lines := results.distances():
            found.append(Section("Distance", [_distance(results, lines)]))
        found.append(Section("Cost", _costs_of(results)))
        found.append(Section("Training", [_training(results), *_tried(results)]))
    if results.memory is not None:
        found.append(Section("Inside the memory", _memory(results.memory)))
    return found


def _overall(comparison: Comparison) -> list[Section]:
    ours = [look(layer).label for layer in comparison.layers if is_ours(layer)]
    board = _table("All tasks", leaderboard_rows(comparison), ours)
    found = [Section("Leaderboard", [board, Text(BOARD)])]
    known = [place for place in standings(comparison) if place.mean is not None]
    return [*found, Section("Over all tasks", board_pictures(known))] if known else found


def board_pictures(known: Sequence[Standing]) -> list[Picture]:
    """The mean above chance against state and time; one point for each layer that has all tasks."""
    state = [Point(p.layer, p.state_bytes, p.mean) for p in known if p.mean]
    time = [Point(p.layer, p.train_us, p.mean) for p in known if p.mean and p.train_us]
    return _against_cost(state, time, "mean above chance", "over all tasks")


def _against_cost(state: list[Point], time: list[Point], metric: str, where: str) -> list[Picture]:
    found = []
    for points, draw, cost in (
        (state, plots.score_against_state, "the bytes of recurrent state"),
        (time, plots.score_against_time, "the time of a train step"),
    ):
        if points:
            best = max(points, key=lambda point: point.score.mean)
            least = min(points, key=lambda point: point.cost)
            names = [look(point.layer).label for point in (best, least)]
            text = (
                f"Higher and further left is better: {names[0]} has the highest score, "
                f"{names[1]} the lowest cost."
            )
            alt = f"{metric.capitalize()} {where} against {cost}, one point a layer."
            found.append(Picture(draw(points, metric, where), alt, text))
    return found


def _scores(results: Results, config: Mapping[str, Any]) -> list[Table | Text]:
    seeds = len(results.of(results.layers[0]))
    interval = (
        f"mean of {seeds} seeds, below it the 95 % interval over seeds"
        if seeds > 1
        else "one seed, below it the 95 % interval over questions"
    )
    ours = [label(results, layer) for layer in results.layers if is_ours(layer)]
    same = EQUAL.get(str(config.get("equal")), "").format(config.get("state_bytes"))
    grows = any(layer.split(",")[0] == "attention" for layer in results.layers)
    return [
        _table(f"{results.metric.capitalize()}: {interval}", score_rows(results), ours),
        Text(
            f"Every layer trains on the same examples in the same order, with the same budget{same}"
            f". {CHARGED} Chance is the score of a guess; the plateau is the score of a memory "
            "that knows which values it has seen, but not with which key."
        ),
        _table("Cost: mean over seeds", cost_rows(results), ours),
        Text(COSTS + (GROWS if grows else "")),
    ]


def _table(caption: str, made: tables.Table, ours: Sequence[str]) -> Table:
    return Table(caption, made.header, made.rows, ours, best=made.best)


def axis_of(results: Results) -> str | None:
    """The axis of the pictures: the one with the most sizes, the first of equals."""
    slices = results.slices()
    names = list(dict.fromkeys(name for axes in slices for name in axes))
    if not names:
        return None
    return max(names, key=lambda name: len({axes.get(name) for axes in slices}))


def _sizes(results: Results) -> list[Picture | Text]:
    axis = axis_of(results)
    if axis is None:
        return [Text("This task is evaluated at one size only.")]
    # The first of several slices of one size is drawn; the others vary another axis.
    rows = {row.axes[axis]: row for row in reversed(results.runs[0].rows) if axis in row.axes}
    sizes = sorted(rows)
    lines = [
        Line(layer, sizes, [results.score(layer, rows[size].axes) for size in sizes])
        for layer in results.layers
    ]
    chances = {row.chance for row in rows.values()}
    figure = plots.recall_against_pairs(
        lines,
        trained=results.trained.get(axis),
        chance=chances.pop() if len(chances) == 1 else None,
        plateau={x: row.plateau for x, row in rows.items() if row.plateau is not None},
        axis=axis,
        metric=results.metric,
        log=sizes[0] > 0,
    )
    alt = f"{results.metric} of {_names(results)} from {sizes[0]:,} to {sizes[-1]:,} {axis}."
    return [Picture(figure, alt, findings.by_size(results, lines, axis))]


def _distance(results: Results, lines: list[Line]) -> Picture:
    figure = plots.recall_against_distance(
        lines, chance=results.runs[0].rows[-1].chance, metric=results.metric
    )
    alt = f"{results.metric} of {_names(results)} against the distance from write to question."
    best = max(lines, key=lambda line: line.scores[-1].mean)
    text = (
        f"At the longest distance, {label(results, best.layer)} has the highest "
        f"{results.metric}: {percent(best.scores[-1].mean)}."
    )
    return Picture(figure, alt, text)


def _costs_of(results: Results) -> list[Picture]:
    hardest = results.slices()[-1]
    state, time = (
        [
            Point(layer, cost, results.score(layer, hardest))
            for layer in results.layers
            if (cost := results.mean(layer, name)) is not None
        ]
        for name in ("state_bytes", "train_us")
    )
    return _against_cost(state, time, results.metric, f"at {slice_text(hardest)}")


def _training(results: Results) -> Picture:
    figure = plots.learning_curves([run.curve for run in results.runs], results.metric)
    alt = f"{results.metric} and loss of {_names(results)} against training steps."
    return Picture(figure, alt, findings.by_training(results))


def _tried(results: Results) -> list[Table]:
    if not results.tried:
        return []
    rows = [
        [
            look(trial.layer).label,
            f"{trial.lr:g}",
            f"{trial.step:,}{' (pruned)' if trial.given_up else ''}",
            "the loss became infinite" if trial.metric is None else percent(trial.metric),
            "yes" if trial.chosen else "no",
        ]
        for trial in results.tried
    ]
    header = ("layer", "rate", "steps", f"held-out {results.metric}", "chosen")
    return [Table("Learning rates tried on the first seed", header, rows)]


def _memory(memory: Memory) -> list[Picture]:
    where = slice_text(memory.occupancy_axes)
    parts = [
        Picture(
            memory_plots.occupancy(memory.occupancy),
            f"Writes per cell of one sequence at {where}: a map, and cells by rank.",
            sentences.occupancy_finding(memory.occupancy, where),
        )
    ]
    if memory.sample is not None and memory.sample.answers:
        parts.append(
            Picture(
                memory_plots.provenance(memory.sample),
                "For each question of one sample, the steps whose writes its read is made of.",
                sentences.provenance_finding(memory.sample),
            )
        )
    return parts


def _names(results: Results) -> str:
    return joined([label(results, layer) for layer in results.layers])


def _recipe(comparison: Comparison) -> list[Text | Code | Table]:
    config = json.dumps(comparison.config, indent=2, ensure_ascii=False)
    return [
        Text("The same command and seeds give the same bits on the same machine and threads."),
        Code(comparison.command),
        Code(config, summary="The configuration"),
        facts("The machine", comparison.machine),
    ]
