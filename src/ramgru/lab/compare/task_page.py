"""What the report of a comparison says of one task: the table, then pictures with their finding."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ramgru.lab.compare import findings
from ramgru.lab.compare.results import Memory, Results
from ramgru.lab.show import memory_plots, plots, provenance_plots, sentences
from ramgru.lab.show.data import Line, StatePoint, TimePoint
from ramgru.lab.show.html import Picture, Section, Table, Text
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.theme import look

COSTS = 4  # rows of the table before its slices
EQUAL = {
    "parameters": ", with the same number of parameters",
    "state": ", with at most {:,} bytes of state at the length trained on",
}


def sections(results: Results, config: Mapping[str, Any]) -> list[Section]:
    """What the report says of one task. config: of the comparison, as JSON values."""
    found = [
        Section("Scores", _scores(results, config)),
        Section(f"{results.metric.capitalize()} against size", _sizes(results)),
    ]
    if distances := results.distances():
        found.append(Section("Distance", [_distance(results, distances)]))
    found.append(Section("State", [_state(results)]))
    if time := _time(results):
        found.append(Section("Compute", [time]))
    found.append(Section("Training", [_training(results), *_tried(results)]))
    if results.memory is not None:
        found.append(Section("Inside the memory", _memory(results.memory)))
    return found


def table_rows(results: Results) -> tuple[list[str], list[list[str]]]:
    """Header and rows: a column a layer, then chance and the plateau where known; first what each
    layer costs (COSTS rows), then a row a slice."""
    layers = results.layers
    first = results.runs[0].rows
    header = ["", *(look(layer, order).label for order, layer in enumerate(layers)), "chance"]
    runs = [results.of(layer) for layer in layers]
    rows = [
        ["parameters", *(f"{of[0].parameters:,}" for of in runs), ""],
        ["state", *(bytes_text(of[0].state_bytes) for of in runs), ""],
        ["steps", *(_range([run.steps for run in of]) for of in runs), ""],
        ["seconds", *(_range([run.seconds for run in of]) for of in runs), ""],
    ]
    for place, axes in enumerate(results.slices()):
        scores = [sentences.score_text(results.score(layer, axes)) for layer in layers]
        rows.append([sentences.slice_text(axes), *scores, percent(first[place].chance)])
    if any(row.plateau is not None for row in first):
        header.append("plateau")
        known = ["" if row.plateau is None else percent(row.plateau) for row in first]
        rows = [[*row, cell] for row, cell in zip(rows, [*[""] * COSTS, *known])]
    return header, rows


def _range(values: list[int] | list[float]) -> str:
    low, high = f"{min(values):,.0f}", f"{max(values):,.0f}"
    return low if low == high else f"{low} – {high}"


def _scores(results: Results, config: Mapping[str, Any]) -> list[Table | Text]:
    header, rows = table_rows(results)
    seeds = len(results.of(results.layers[0]))
    interval = (
        f"mean of {seeds} seeds, below it the 95 % interval over seeds"
        if seeds > 1
        else "one seed, below it the 95 % interval over questions"
    )
    ours = 1 + results.layers.index("ramgru") if "ramgru" in results.layers else None
    same = EQUAL.get(str(config.get("equal")), "").format(config.get("state_bytes"))
    grows = (
        " The state of attention grows with the sequence; given is that at the end of the longest."
        if any(layer.split(",")[0] == "attention" for layer in results.layers)
        else ""
    )
    return [
        Table(f"{results.metric.capitalize()}: {interval}", header, rows, ours),
        Text(
            f"Every layer is trained on the same examples in the same order{same}, with the same "
            "budget. Chance is the score of a guess; the plateau is that of a memory that knows "
            "which values it has seen, but not to which key they belong."
            f"{grows}"
        ),
    ]


def axis_of(results: Results) -> str | None:
    """The axis along which sizes are drawn: the one with the most sizes, the first of equals."""
    slices = results.slices()
    names = list(dict.fromkeys(name for axes in slices for name in axes))
    if not names:
        return None
    return max(names, key=lambda name: len({axes.get(name) for axes in slices}))


def _sizes(results: Results) -> list[Picture | Text]:
    axis = axis_of(results)
    if axis is None:
        return [Text("This task is measured at one size only.")]
    # Where several slices share a size, the first stands for it: others vary another axis.
    slices = {axes[axis]: axes for axes in reversed(results.slices()) if axis in axes}
    sizes = sorted(slices)
    lines = [
        Line(layer, sizes, [results.score(layer, slices[size]) for size in sizes])
        for layer in results.layers
    ]
    rows = {row.axes.get(axis): row for row in reversed(results.runs[0].rows)}
    plateau = {x: row.plateau for x, row in rows.items() if x is not None}
    chances = {row.chance for row in rows.values()}
    figure = plots.recall_against_pairs(
        lines,
        trained=results.trained.get(axis),
        chance=chances.pop() if len(chances) == 1 else None,
        plateau={x: value for x, value in plateau.items() if value is not None},
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
    alt = f"{results.metric} of {_names(results)} by the distance from write to question."
    return Picture(figure, alt, findings.by_distance(results, lines))


def _state(results: Results) -> Picture:
    hardest = results.slices()[-1]
    points = [
        StatePoint(layer, results.of(layer)[0].state_bytes, results.score(layer, hardest))
        for layer in results.layers
    ]
    where = sentences.slice_text(hardest)
    figure = plots.score_against_state(points, results.metric, f"at {where}")
    alt = f"{results.metric} of {_names(results)} at {where} against bytes of recurrent state."
    return Picture(figure, alt, findings.by_state(results))


def _time(results: Results) -> Picture | None:
    """None where the time of a step is not known of every layer."""
    hardest, points = results.slices()[-1], []
    for layer in results.layers:
        times = [run.train_us for run in results.of(layer) if run.train_us is not None]
        if not times:
            return None
        score = results.score(layer, hardest)
        points.append(TimePoint(layer, sum(times) / len(times), score))
    where = sentences.slice_text(hardest)
    figure = plots.score_against_time(points, results.metric, f"at {where}")
    alt = f"{results.metric} of {_names(results)} at {where} against the time of a train step."
    return Picture(figure, alt, findings.by_time(points))


def _training(results: Results) -> Picture:
    figure = plots.learning_curves([run.curve for run in results.runs], results.metric)
    alt = f"{results.metric} and loss of {_names(results)} by training step."
    return Picture(figure, alt, findings.by_training(results))


def _tried(results: Results) -> list[Table]:
    if not results.tried:
        return []
    rows = [
        [
            look(trial.layer).label,
            f"{trial.lr:g}",
            f"{trial.step:,}{' (given up)' if trial.given_up else ''}",
            "the loss became infinite" if trial.metric is None else percent(trial.metric),
            "yes" if trial.chosen else "no",
        ]
        for trial in results.tried
    ]
    caption = "Learning rates tried on the first seed; those that fell behind were given up"
    header = ("layer", "rate", "steps", f"held-out {results.metric}", "chosen")
    return [Table(caption, header, rows)]


def _memory(memory: Memory) -> list[Picture]:
    where = sentences.slice_text(memory.occupancy_axes)
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
                provenance_plots.provenance(memory.sample),
                "For each question of one sample, the steps whose writes its answer is made of.",
                sentences.provenance_finding(memory.sample),
            )
        )
    return parts


def _names(results: Results) -> str:
    return sentences.joined([look(layer).label for layer in results.layers])
