"""docs/leaderboard.md: what the default suite found, drawn from its data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure
from pages import standalone, table

from ramgru import files
from ramgru.lab.compare.leaderboard import standings
from ramgru.lab.compare.page import leaderboard_rows
from ramgru.lab.compare.results import Comparison, Results, from_json
from ramgru.lab.compare.task_page import axis_of
from ramgru.lab.show import plots, sentences, svg
from ramgru.lab.show.data import Line, Score, StatePoint, TimePoint
from ramgru.lab.show.plots import percent
from ramgru.lab.show.theme import look

IMAGES = "images/leaderboard"
HEADING = "Written by `python benchmarks/leaderboard.py`; do not edit."
NOTES = Path(__file__).with_name(
    "leaderboard_notes.md"
)  # what the numbers do not say by themselves


def write(data: Path, folder: Path) -> Path:
    """The page of the data and its pictures; -> the path of the page."""
    comparison = from_json(data.read_text(encoding="utf-8"), str(data))
    (folder / IMAGES).mkdir(parents=True, exist_ok=True)
    lines = [
        "# Leaderboard",
        "",
        HEADING,
        "",
        *_protocol(comparison),
        *_overall(comparison),
        *_pictures(comparison, folder),
        "## Who is ahead",
        "",
        *(_ahead(task) for task in comparison.tasks),
        "",
        *NOTES.read_text(encoding="utf-8").splitlines(),
        "",
        "## Task by task",
        "",
    ]
    for task in comparison.tasks:
        lines += _task(task, folder)
    lines += _rates(comparison)
    return files.write(folder / "leaderboard.md", "\n".join(lines).rstrip() + "\n")


def _protocol(comparison: Comparison) -> list[str]:
    config, first = comparison.config, comparison.tasks[0]
    seeds = len({run.seed for task in comparison.tasks for run in task.runs})
    rates = ", ".join(f"{rate:g}" for rate in config["lr"])
    machine = ", ".join(f"{key} {value}" for key, value in comparison.machine.items())
    return [
        f"{len(comparison.layers)} layers on {len(comparison.tasks)} tasks, {seeds} seeds: two "
        f"residual blocks of width {config['model']['d_model']}, as many parameters for each layer "
        "as the RAM-GRU has on that task, the same examples in the same order, "
        f"{config['steps']} steps of {config['batch_size']} short sequences, the best of the "
        f"learning rates {rates} on the first seed (those that fall behind after a quarter of the "
        "steps are given up). Then each is asked at the sizes trained on and far beyond. It is a "
        "small budget: what a layer has not learnt here it may learn from more.",
        "",
        f"All numbers: [leaderboard.csv](leaderboard.csv), one line a run and size, and "
        f"[leaderboard.json](leaderboard.json). Training one seed of all took "
        f"{_hours(comparison) / seeds:.1f} processor hours. Machine: {machine}; "
        f"{config['jobs']} runs at a time, {config['threads']} thread each.",
        "",
        f"A task's score is the mean over all its sizes ({len(first.slices())} for {first.task}). "
        "The mean over tasks is that of (score - chance) / (1 - chance), so 0 is a guess and "
        "100 % is every answer right at every size. Below the numbers: 95 % intervals over seeds.",
        "",
    ]


def _hours(comparison: Comparison) -> float:
    return sum(run.seconds for task in comparison.tasks for run in task.runs) / 3600


def _overall(comparison: Comparison) -> list[str]:
    header, found = leaderboard_rows(comparison)
    ours = {look(layer).label for layer in comparison.layers if layer.startswith("ramgru")}
    rows = [
        [f"**{name}**" if name in ours else name, *(cell.replace("\n", "<br>") for cell in cells)]
        for name, *cells in found
    ]
    chances = [percent(task.runs[0].rows[0].chance) for task in comparison.tasks]
    rows.append(["chance", "0 %", *chances, "", "", ""])
    return [
        *table(header, rows),
        "State: bytes that one sequence carries, mean over tasks; of attention, at the end of the "
        "longest sequence asked. A train step is told a token, a streaming step is one step of one "
        "sequence; both on one thread, beside another run.",
        "",
    ]


def _cell(score: Score) -> str:
    return sentences.score_text(score).replace("\n", "<br>")


def _pictures(comparison: Comparison, folder: Path) -> list[str]:
    known = [place for place in standings(comparison) if place.mean is not None]
    metric, where = "mean above chance", f"over {len(comparison.tasks)} tasks"
    lines: list[str] = []
    state = [StatePoint(p.layer, round(p.state_bytes), p.mean) for p in known if p.mean]
    time = [
        TimePoint(p.layer, p.train_us, p.mean) for p in known if p.mean and p.train_us is not None
    ]
    for name, figure, alt in (
        ("state", plots.score_against_state(state, metric, where), "bytes of recurrent state"),
        ("time", plots.score_against_time(time, metric, where), "the time of a train step"),
    ):
        lines += _picture(name, figure, f"Mean score above chance against {alt}.", folder)
    return lines


def _picture(name: str, figure: Figure, alt: str, folder: Path) -> list[str]:
    drawn = svg.inline(figure, f"leaderboard-{name}".replace("_", "-"), alt)
    files.write(folder / IMAGES / f"{name}.svg", standalone(drawn, name))
    return [f"![{alt}]({IMAGES}/{name}.svg)", ""]


def _ahead(task: Results) -> str:
    """The layers whose mean over sizes is highest, and where the RAM-GRU stands among them."""
    order = _order(task)
    best, ours = order[0], next(p for p in order if p[0].startswith("ramgru"))
    named = [f"{look(layer).label} {percent(score.mean)}" for layer, score in order[:3]]
    place = order.index(ours) + 1
    tail = "" if ours == best else f"; our best, {look(ours[0]).label}, is number {place}"
    behind = "" if ours == best else f" with {percent(ours[1].mean)}"
    return f"- **{task.task}**: {sentences.joined(named)}{tail}{behind}."


def _order(task: Results) -> list[tuple[str, Score]]:
    found = [(layer, _mean(task, layer)) for layer in task.layers]
    return sorted(found, key=lambda pair: -pair[1].mean)


def _mean(task: Results, layer: str) -> Score:
    scores = [row.score for run in task.of(layer) for row in run.rows]
    return Score(sum(scores) / len(scores))


def _task(task: Results, folder: Path) -> list[str]:
    slices = task.slices()
    header = ["layer", *(sentences.slice_text(axes) for axes in slices)]
    rows: list[Sequence[str]] = [
        [look(layer).label, *(_cell(task.score(layer, axes)) for axes in slices)]
        for layer, _ in _order(task)
    ]
    first = task.runs[0].rows
    rows.append(["chance", *(percent(row.chance) for row in first)])
    if any(row.plateau is not None for row in first):
        rows.append(["plateau", *(percent(row.plateau or 0.0) for row in first)])
    sizes = ", ".join(f"{key} {value:,}" for key, value in task.trained.items())
    lines = [f"### {task.task}", "", f"{task.metric.capitalize()}; trained on {sizes}.", ""]
    axis = axis_of(task)
    if axis is not None:
        at = {axes[axis]: axes for axes in reversed(slices)}
        xs = sorted(at)
        drawn = [
            Line(layer, xs, [task.score(layer, at[x]) for x in xs]) for layer, _ in _order(task)
        ]
        figure = plots.recall_against_pairs(
            drawn, trained=task.trained.get(axis), axis=axis, metric=task.metric
        )
        lines += _picture(task.task, figure, f"{task.metric} on {task.task} by {axis}.", folder)
    return [*lines, *table(header, rows)]


def _rates(comparison: Comparison) -> list[str]:
    lines = ["## Learning rates chosen", ""]
    tasks = [task.task for task in comparison.tasks]
    rows = []
    for layer in comparison.layers:
        chosen = []
        for task in comparison.tasks:
            runs = task.of(layer)
            chosen.append(f"{runs[0].lr:g}" if runs else "–")
        rows.append([look(layer).label, *chosen])
    return [*lines, *table(["layer", *tasks], rows)]
