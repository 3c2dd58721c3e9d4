"""`ramgru compare`: layers trained beside each other with one budget, one table, one report.

Killed at any moment, the same command goes on: what is finished is reused, what is not is resumed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.inspect.example import draw
from ramgru.inspect.view import cells_in_use, look
from ramgru.report import html, machine
from ramgru.report.theme import look as look_of
from ramgru.study import budget, runs, saved, terminal
from ramgru.study.command import command
from ramgru.study.config import CompareConfig, Layer
from ramgru.study.page import page
from ramgru.study.results import Memory, Results, Run, Trial, from_json
from ramgru.train.config import TrainConfig
from ramgru.train.data import held_out_seed
from ramgru.train.run import load_run

DATA, TABLE, REPORT = "compare.json", "compare.csv", "report.html"
MOST_ASKED = 64  # a sample with more questions is no picture any more


def compare(config: CompareConfig, *, quiet: bool = False) -> Path:
    """Train, evaluate and report; -> the path of the report.

    Written into `config.folder`: a run directory a layer and seed, compare.json (everything that
    the report shows), compare.csv (tidy) and report.html.
    quiet: print nothing.
    Raises ValueError for options that do not fit together, RamgruError where a run fails or is
    interrupted.
    """
    console = Console(quiet=quiet, highlight=False)
    if not console.is_terminal:
        console.width = 100
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RamgruError(f"cannot make the folder {config.folder}: {error.strerror}") from error
    done: list[Run] = []
    tried: list[Trial] = []
    for layer in config.layers:
        done += _layer(config, layer, tried, console)
    results = Results(
        task=config.task.name,
        metric=config.task.metric,
        trained={k: v for k, v in config.task.options().items() if k in done[0].rows[0].axes},
        runs=done,
        tried=tried,
        memory=_memory(config, done),
        command=command(f"ramgru.study.compare({config!r})"),
        config=config.as_dict(),
        machine=machine.describe(),
    )
    files.write(config.folder / DATA, results.to_json())
    files.write(config.folder / TABLE, results.to_csv())
    return _show(results, config.folder / REPORT, console)


@dataclass(frozen=True)
class ReportConfig:
    """Draw the report of a comparison or a study again from its saved data, without training."""

    comparison: Path
    """Directory of the comparison or study, or its compare.json or study.json."""
    out: Path | None = None
    """HTML file to write; None: report.html beside the data."""


def report(config: ReportConfig, *, quiet: bool = False) -> Path:
    """Draw a comparison's report again; -> its path.

    Raises DataError where the data is missing, broken or foreign.
    """
    path, text = saved.read(config.comparison, DATA, "compare")
    out = config.out if config.out is not None else path.with_name(REPORT)
    console = Console(quiet=quiet, highlight=False)
    if not console.is_terminal:
        console.width = 100
    return _show(from_json(text, str(path)), out, console)


def _show(results: Results, path: Path, console: Console) -> Path:
    html.write(page(results), path)
    terminal.show(results, console)
    console.print(f"report: {path}", soft_wrap=True)
    return path


def _layer(config: CompareConfig, layer: Layer, tried: list[Trial], console: Console) -> list[Run]:
    """The runs of one layer, a seed each, at its best learning rate on the first seed."""
    steps = budget.steps_of(config, layer)
    rates = config.rates(layer)
    first: dict[float, tuple[float, float]] = {}
    if len(rates) > 1:
        for lr in rates:
            folder, _ = _train(config, layer, lr, config.seeds[0], steps, console)
            first[lr] = runs.held_out(folder, config.task.metric)
    # the best metric; of equals the lower loss, then the rate that stands first
    best = max(first, key=lambda lr: (first[lr][0], -first[lr][1])) if first else rates[0]
    tried += [Trial(layer, lr, *scores, chosen=lr == best) for lr, scores in first.items()]
    made = []
    for seed in config.seeds:
        folder, training = _train(config, layer, best, seed, steps, console)
        with console.status(f"evaluating {look_of(layer).label} …"):
            made.append(runs.measured(folder, training, config.effort))
    return made


def _train(
    config: CompareConfig, layer: Layer, lr: float, seed: int, steps: int, console: Console
) -> tuple[Path, TrainConfig]:
    training = config.training(layer, lr, seed, steps)
    folder = config.folder / runs.run_name(training, config.effort)
    already = ": finished before" if runs.finished(folder) else ""
    console.print(f"{look_of(layer).label} · lr {lr:g} · seed {seed}{already}")
    runs.trained(training, folder, quiet=console.quiet)
    return folder, training


def _memory(config: CompareConfig, done: list[Run]) -> Memory | None:
    """Inside the first RAM-GRU: one sample of the training size, and cells in use at the last
    slice of the evaluation; None where there is none."""
    ours = next((run for run in done if run.layer == "ramgru"), None)
    if ours is None:
        return None
    _, task, model = load_run(config.folder / ours.name)
    seed = held_out_seed(config.seeds[0], 0)
    hardest = next(p for p in task.grid() if dict(p.axes) == ours.rows[-1].axes)
    view = look(model, task, draw(task.held_out(), seed))
    if view is None:
        return None
    occupancy = cells_in_use(model, draw(hardest.task, seed), view.block)
    sample = view.sample if view.exact and len(view.sample.answers) <= MOST_ASKED else None
    return Memory(ours.name, occupancy, dict(hardest.axes), sample)
