"""The report of a study: a section a lever with its picture and finding, then tables, then recipe.

Drawn from saved results alone, so that it can be drawn again without training.
"""

from __future__ import annotations

import json

from matplotlib.figure import Figure

from ramgru.lab.compare.levers import findings, tables
from ramgru.lab.compare.levers.capacity import ENOUGH
from ramgru.lab.compare.levers.points import DEFAULT, LEVERS
from ramgru.lab.compare.levers.results import PAIRS, Results
from ramgru.lab.show import plots
from ramgru.lab.show.data import Line, Score
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts
from ramgru.lab.show.lever_plots import CellsPoint, against_cells

CROSSED = "All combinations of the levers."
BAND = "The band is the interval of the default; those of all points are in the table below."
MOST_LINES = 11  # more lines than looks are no picture any more

SEEDS = "the mean over seeds, below it the 95 % interval over seeds"
ONE_SEED = "one seed, below it the 95 % interval over questions"
EFFICIENCY = (
    f"Pairs at {ENOUGH:.0%}: the most pairs of which so many are recalled, on a straight line "
    "between the two sizes around it (the size on a log scale); ≥ where the largest size measured "
    "is held still. Bits: pairs times log2 M − H2(p) − (1 − p) log2(M − 1), the information that "
    "an answer right with probability p gives about one of M values, at the size at which that is "
    "most. A state bit is one of the whole state, all cells counted whether used or not, at 32 "
    "bits a float; a written bit is one of the cells that a sequence writes, at the size at which "
    "that is most; a parameter is any number that training adjusts."
)
COST = (
    "Step: the median time of one streaming step of one sequence. Training: the time of a train "
    "step, a token. Touched: bytes of cells that one step reads and writes. For backward: bytes "
    "that a train step keeps for backward, a token; the rest of a train step's memory is not "
    "measured. Times are of one process among those that ran side by side."
)


def page(results: Results) -> Page:
    """The whole report of a study."""
    sections = [Section(title(lever), _lever(results, lever)) for lever in results.levers]
    sections.append(Section("All points", all_points(results)))
    if results.failed:
        rows = list(results.failed.items())
        failed = Table("Runs that came to nothing; all else is without them", ("run", "why"), rows)
        sections.append(Section("Failed", [failed]))
    sections.append(Section("Repeat it", _recipe(results)))
    return Page(
        f"The levers of memory efficiency on {results.task}",
        findings.headline(results),
        sections,
        footer=f"Made by ramgru {results.machine.get('ramgru', '')}".rstrip(),
    )


def question(lever: str) -> str:
    """What a lever asks."""
    return LEVERS[lever].question if lever in LEVERS else CROSSED


def pictures(results: Results, lever: str) -> list[Picture]:
    """The pictures of a lever, each with its finding; none where too little of it was run."""
    found = []
    if (figure := by_size(results, lever)) is not None:
        alt = f"{results.metric} against size, a line a point of the lever {lever}."
        found.append(Picture(figure, alt, findings.by_lever(results, lever)))
    sizes = cells(results, lever)
    if lever in LEVERS and len(sizes) > 1:  # combinations hold the points of the levers again
        alt = "Pairs held, bits a bit of state, and time a step, against the number of cells."
        figure = against_cells([_cells_point(results, n, name) for n, name in sizes])
        found.append(Picture(figure, alt, findings.by_cells(results, sizes)))
    return found


def all_points(results: Results) -> list[Table | Text]:
    """The tables of all points, and what their columns are."""
    points = results.points
    interval = SEEDS if len(results.of(points[0])) > 1 else ONE_SEED
    return [
        Table(f"{results.metric.capitalize()}: {interval}", *tables.recall_rows(results, points)),
        Table("What a point holds", *tables.efficiency_rows(results, points)),
        Text(EFFICIENCY),
        Table("What a point costs", *tables.cost_rows(results, points)),
        Text(COST),
    ]


def by_size(results: Results, lever: str) -> Figure | None:
    """A lever's scores against the axis with the most sizes, a line a point."""
    names, axis = results.of_lever(lever), axis_of(results)
    if axis is None or not names or len(names) > MOST_LINES:
        return None
    # Where several slices share a size, the first stands for it: others vary another axis.
    rows = {row.axes[axis]: row for row in reversed(results.rows()) if axis in row.axes}
    sizes = sorted(rows)
    lines = []
    for name in names:
        scores = [results.score(name, rows[size].axes) for size in sizes]
        if name == DEFAULT:
            lines.append(Line("ramgru", sizes, scores, label=name))
        else:  # the bands of many lines hide each other
            lines.append(Line(name, sizes, [Score(score.mean) for score in scores]))
    chances = {row.chance for row in rows.values()}
    plateau: dict[float, float] = {
        size: row.plateau for size, row in rows.items() if row.plateau is not None
    }
    return plots.recall_against_pairs(
        lines,
        trained=results.trained.get(axis),
        chance=chances.pop() if len(chances) == 1 else None,
        plateau=plateau,
        axis=axis,
        metric=results.metric,
        log=sizes[0] > 0,
    )


def axis_of(results: Results) -> str | None:
    """The axis along which sizes are drawn: pairs, or the one with the most sizes."""
    slices = [row.axes for row in results.rows()]
    names = list(dict.fromkeys(name for axes in slices for name in axes))
    if not names or PAIRS in names:
        return PAIRS if names else None
    return max(names, key=lambda name: len({axes.get(name) for axes in slices}))


def cells(results: Results, lever: str) -> list[tuple[int, str]]:
    """(cells of a head, point), ascending: the points of a lever that differ in that alone."""
    start = results.config.get("model", {}).get("ram", {}).get("memory_size")
    found = []
    for name in results.of_lever(lever):
        options = results.options.get(name, {})
        if set(options) <= {"memory_size"}:
            found.append((options.get("memory_size", start), name))
    return sorted((n, name) for n, name in found if n)


def title(lever: str) -> str:
    """The heading of a lever's section."""
    return {"cells": "Number of cells", "structure": "Structure of the unit"}.get(
        lever, lever.capitalize()
    )


def _lever(results: Results, lever: str) -> list[Picture | Text]:
    shown: list[Picture | Text] = list(pictures(results, lever))
    if not shown and results.of_lever(lever):
        shown = [Text(findings.by_lever(results, lever))]
    return [Text(f"{question(lever)} {BAND}"), *shown]


def _cells_point(results: Results, count: int, name: str) -> CellsPoint:
    held = results.capacity(name)
    return CellsPoint(
        count,
        None if held is None else held.pairs,
        held is not None and held.at_least,
        results.mean(name, lambda run: run.bits_per_state_bit),
        results.mean(name, lambda run: run.cost.step_us),
    )


def _recipe(results: Results) -> list[Text | Code | Table]:
    changed = [
        [name, ", ".join(f"{k}={v!r}" for k, v in options.items()) or "as configured"]
        for name, options in results.options.items()
        if name in results.points
    ]
    return [
        Text("The command; the same seeds give the same bits on the same machine and threads."),
        Code(results.command),
        Table("The points", ("point", "options of the layer"), changed, text=True),
        Code(json.dumps(results.config, indent=2, ensure_ascii=False), summary="The configuration"),
        facts("The machine", results.machine),
    ]
