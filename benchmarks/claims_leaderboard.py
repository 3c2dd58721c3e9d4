"""The leaderboard: all layers on the default suite, and docs/leaderboard.md drawn from its data.

The peers have as many parameters as the RAM-GRU on each task; all layers have the same examples,
the same steps, and the best of three learning rates. The suite is small enough for a CPU: training
is on short sequences, tests are on sequences up to thirty times as long.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from claims_runs import ROOT
from pages import COMMAND, marked, picture, table

from ramgru import files
from ramgru.lab.compare import CompareConfig, compare
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.page import axis_of, board_pictures
from ramgru.lab.compare.results import Comparison, Results, from_json
from ramgru.lab.compare.table import to_csv
from ramgru.lab.compare.tables import is_ours, leaderboard_rows, score_rows, standings
from ramgru.lab.evaluate import Effort
from ramgru.lab.show import plots, sentences
from ramgru.lab.show.data import Line
from ramgru.lab.show.plots import percent
from ramgru.lab.show.theme import look
from ramgru.lab.train.layers import LAYERS

NAME = "leaderboard"
NOTES = Path(__file__).with_name("leaderboard_notes.md")
TASKS = (
    "mqar,vocab_size=1024,pairs=8,length=32",
    "mqar_update,vocab_size=1024,pairs=6,updates=6,length=48",
    "noisy_recall,length=32",
    "selective_copy,tokens=8,length=32",
    "copy,length=10",
    "reverse,length=20",
    "parity,length=20",
)
OURS = (
    "ramgru",
    "ramgru,controller=mingru",
    "ramgru,heads=key key key key tape tape tape tape",
)
SUITE = CompareConfig(
    task=sized(TASKS[0]),
    also=TASKS[1:],
    layers=(*OURS, *LAYERS[1:]),
    steps=400,
    batch_size=32,
    lr=(3e-3, 1e-2, 1e-3),
    seeds=(0, 1, 2),
    effort=Effort(questions=512, examples=16, max_length=1024),
    threads=1,
    device="cpu",
    out=ROOT / NAME,
)


def selected(names: Sequence[str]) -> tuple[str, ...]:
    """The layers of the suite with these names, options left out; all of them without names."""
    return tuple(layer for layer in SUITE.layers if not names or layer.partition(",")[0] in names)


def train(layers: tuple[str, ...], seeds: tuple[int, ...], jobs: int) -> Comparison:
    """Train and measure these layers; finished runs are reused."""
    suite = replace(SUITE, layers=layers, seeds=seeds or SUITE.seeds, jobs=jobs)
    compare(suite)
    found = from_json((suite.folder / DATA).read_text(encoding="utf-8"))
    machines = dict.fromkeys(layers, _machine(found))
    return replace(found, config={**found.config, "machines": machines})


def _machine(comparison: Comparison) -> str:
    facts = ", ".join(f"{key} {value}" for key, value in comparison.machine.items())
    return f"{facts}; {comparison.config['jobs']} at a time"


def merged(known: Comparison | None, new: Comparison) -> Comparison:
    """The layers of both; of a layer in both, the new runs. Each keeps its own machine."""
    if known is None:
        return new
    fresh = set(new.layers)
    tasks = []
    for before, after in zip(known.tasks, new.tasks, strict=True):
        runs = [*(run for run in before.runs if run.layer not in fresh), *after.runs]
        tried = [*(trial for trial in before.tried if trial.layer not in fresh), *after.tried]
        order = {layer: place for place, layer in enumerate(SUITE.layers)}
        runs.sort(key=lambda run: (order[run.layer], run.seed))
        tried.sort(key=lambda trial: order[trial.layer])
        tasks.append(replace(after, runs=runs, tried=tried))
    layers = [layer for layer in SUITE.layers if layer in fresh | set(known.layers)]
    machines = {**known.config["machines"], **new.config["machines"]}
    config = {**new.config, "layers": layers, "machines": machines}
    return replace(new, tasks=tasks, config=config)


def read(docs: Path) -> Comparison | None:
    """The stored comparison, without layers that the suite no longer has."""
    path = docs / f"{NAME}.json"
    if not path.exists():
        return None
    found = from_json(path.read_text(encoding="utf-8"), str(path))
    tasks = [
        replace(
            task,
            runs=[run for run in task.runs if run.layer in SUITE.layers],
            tried=[trial for trial in task.tried if trial.layer in SUITE.layers],
        )
        for task in found.tasks
    ]
    return replace(found, tasks=tasks)


def store(comparison: Comparison, docs: Path) -> None:
    """leaderboard.json, which the page is drawn from, and leaderboard.csv; without the folder of
    the runs."""
    config = {name: value for name, value in comparison.config.items() if name != "out"}
    plain = replace(comparison, command=f"{COMMAND} {NAME}", config=config)
    text = json.dumps(json.loads(plain.to_json()), separators=(",", ":")) + "\n"
    files.write(docs / f"{NAME}.json", text)
    files.write(docs / f"{NAME}.csv", to_csv(plain))


def write(comparison: Comparison, docs: Path) -> Path:
    """The page and its pictures below `docs`; -> the path of the page."""
    lines = [
        "# Leaderboard",
        "",
        f"Written by `{COMMAND} {NAME}`; do not edit.",
        "",
        *_protocol(comparison),
        *_overall(comparison),
        *_pictures(comparison, docs),
        *NOTES.read_text(encoding="utf-8").splitlines(),
        "",
        "## Task by task",
        "",
    ]
    for task in comparison.tasks:
        lines += _task(task, docs)
    return files.write(docs / f"{NAME}.md", "\n".join(lines).rstrip() + "\n")


def _protocol(comparison: Comparison) -> list[str]:
    config, first = comparison.config, comparison.tasks[0]
    seeds = len({run.seed for task in comparison.tasks for run in task.runs})
    rates = ", ".join(f"{rate:g}" for rate in config["lr"])
    missing = [look(layer).label for layer in SUITE.layers if layer not in comparison.layers]
    lines = [
        f"{len(comparison.layers)} layers on {len(comparison.tasks)} tasks, {seeds} seeds: two "
        f"residual blocks of width {config['model']['d_model']}, the same examples in the same "
        f"order, {config['steps']} steps of {config['batch_size']} short sequences, and the best "
        f"of the learning rates {rates} on the first seed; a rate that is behind after a quarter "
        "of the steps is given up. Tests are at the sizes trained on and far beyond. The budget "
        "is small: a layer may learn from more steps what these steps did not teach it.",
        "",
        f"Parameters on {first.task}: {_parameters(first)}.",
        "",
        f"All numbers: [{NAME}.csv]({NAME}.csv), one line per run and size, and "
        f"[{NAME}.json]({NAME}.json). Training one seed of all layers took "
        f"{_hours(comparison) / seeds:.1f} processor hours.",
        "",
        f"A task's score is the mean over all its sizes ({len(first.slices())} for {first.task}). "
        "The mean over tasks is that of (score − chance) / (1 − chance): 0 is a guess, and 100 % "
        "is every answer right at every size. Below each number: its 95 % interval over seeds. "
        "Bold: our layers, and the best of a column where few share it.",
        "",
    ]
    if missing:
        lines += [f"Not measured at this state of the code: {sentences.joined(missing)}.", ""]
    machines: dict[str, list[str]] = {}
    for layer in comparison.layers:
        machines.setdefault(config["machines"][layer], []).append(look(layer).label)
    return [
        *lines,
        *(f"- Machine of {sentences.joined(names)}: {name}." for name, names in machines.items()),
        "",
    ]


def _parameters(task: Results) -> str:
    """The counts of our layers, one by one, and the range of the peers'."""
    counts = {layer: task.of(layer)[0].parameters for layer in task.layers}
    ours = [f"{look(n).label} {count:,}" for n, count in counts.items() if is_ours(n)]
    peers = [count for layer, count in counts.items() if not is_ours(layer)]
    return "; ".join([*ours, f"the other layers {min(peers):,} to {max(peers):,}"])


def _hours(comparison: Comparison) -> float:
    return sum(run.seconds for task in comparison.tasks for run in task.runs) / 3600


def _overall(comparison: Comparison) -> list[str]:
    header, found, best = leaderboard_rows(comparison)
    ours = {look(layer).label for layer in comparison.layers if is_ours(layer)}
    rows = [
        [f"**{name}**" if name in ours else name, *cells] for name, *cells in marked(found, best)
    ]
    chances = [percent(task.runs[0].rows[0].chance) for task in comparison.tasks]
    rows.append(["chance", "0 %", *chances, "", "", ""])
    return [
        *table(header, rows),
        "State: bytes that one sequence carries, mean over tasks; for attention, at the end of the "
        "longest test sequence. The train step is the time per token; the streaming step is one "
        "step of one sequence. Both are on one thread, beside another run.",
        "",
    ]


def _pictures(comparison: Comparison, docs: Path) -> list[str]:
    known = [place for place in standings(comparison) if place.mean is not None]
    named = zip(("state", "time"), board_pictures(known))
    return [
        line
        for name, p in named
        for line in picture(plots.titled(p.figure, p.finding), NAME, name, p.alt, docs)
    ]


def _task(task: Results, docs: Path) -> list[str]:
    header, rows, best = score_rows(task)
    sizes = ", ".join(f"{key} {value:,}" for key, value in task.trained.items())
    lines = [f"### {task.task}", "", f"{task.metric.capitalize()}; trained on {sizes}.", ""]
    axis = axis_of(task)
    if axis is not None:
        at = {axes[axis]: axes for axes in reversed(task.slices())}
        xs = sorted(at)
        drawn = [Line(layer, xs, [task.score(layer, at[x]) for x in xs]) for layer in task.layers]
        figure = plots.recall_against_pairs(
            drawn, trained=task.trained.get(axis), axis=axis, metric=task.metric
        )
        plots.titled(figure, plots.scores_finding(drawn, axis, task.metric))
        lines += picture(figure, NAME, task.task, f"{task.metric} on {task.task} by {axis}.", docs)
    return [*lines, *table(header, marked(rows, best))]
