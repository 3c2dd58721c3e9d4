"""`ramgru compare`: layers trained beside each other with one budget, one table, one report.

First every layer gets its learning rate on every task, then come the runs, one a seed. Killed at
any moment, the same command goes on: what is finished is reused, what is not is resumed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.compare import saved, terminal
from ramgru.lab.compare.command import command
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.compare.jobs import Crew, Job
from ramgru.lab.compare.page import page
from ramgru.lab.compare.results import (
    Comparison,
    Memory,
    Results,
    Run,
    Trial,
    from_json,
    run_from_dict,
)
from ramgru.lab.compare.runs import run_name
from ramgru.lab.compare.table import to_csv, write_parquet
from ramgru.lab.show import html, machine
from ramgru.lab.show.example import draw
from ramgru.lab.show.theme import look as look_of
from ramgru.lab.show.view import cells_in_use, look
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.run import load_run, locked

DATA, TABLE, REPORT = "compare.json", "compare.csv", "report.html"
MOST_ASKED = 64  # a sample with more questions is no picture any more


def compare(config: CompareConfig, *, quiet: bool = False) -> Path:
    """Train, evaluate and report; -> the path of the report.

    Written into `config.folder`: a run directory a task, layer and seed, compare.json (everything
    that the report shows), compare.csv (tidy; compare.parquet too with the extra `parquet`) and
    report.html.
    quiet: print nothing.
    Raises ValueError for options that do not fit together; RamgruError where another process
    writes the folder, where training was interrupted, or where a run failed: the report is then
    without it.
    """
    console = _console(quiet)
    for layer in config.contenders:
        layers.import_own(layer)  # asked for here, so that its runs may be read
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RamgruError(f"cannot make the folder {config.folder}: {error.strerror}") from error
    with locked(config.folder):
        tuned, failed = _crew(config, "tune").work_off(_tunings(config), console)
        runs = _runs(config, tuned)
        made, more = _crew(config, "compare").work_off(runs, console)
        failed |= more
        if not made:
            name, why = next(iter(failed.items()))
            raise RamgruError(f"all {len(failed)} jobs failed; the first, {name}: {why}")
        comparison = _comparison(config, tuned, {k: made[k]["run"] for k in runs if k in made})
    text = comparison.to_json()
    comparison = from_json(text)  # what is shown now is what is shown when it is drawn again
    files.write(config.folder / DATA, text)
    files.write(config.folder / TABLE, to_csv(comparison))
    write_parquet(comparison, config.folder / TABLE)
    path = _show(comparison, config.folder / REPORT, console)
    if failed:
        name, why = next(iter(failed.items()))
        raise RamgruError(
            f"{len(failed)} jobs failed, and the report is without them; the same command tries "
            f"them again. The first, {name}: {why}"
        )
    return path


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
    return _show(from_json(text, str(path)), out, _console(quiet))


def _console(quiet: bool) -> Console:
    console = Console(quiet=quiet, highlight=False)
    if not console.is_terminal:
        console.width = 100
    return console


def _show(comparison: Comparison, path: Path, console: Console) -> Path:
    html.write(page(comparison), path)
    terminal.show(comparison, console)
    console.print(f"report: {path}", soft_wrap=True)
    return path


def _crew(config: CompareConfig, what: str) -> Crew:
    threads = config.threads or int(config.jobs > 1)
    return Crew(config.folder, f"ramgru-{what}", config.jobs, threads, config.storage)


def _cells(config: CompareConfig) -> Iterator[tuple[Task, str]]:
    """Every layer on every task: task by task."""
    for task in config.tasks:
        for layer in config.contenders:
            yield task, layer


def _tuning(config: CompareConfig, task: Task, layer: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of a cell's tuning, and its runs at the first seed, one a rate."""
    seed = config.seeds[0]
    trainings = [to_dict(config.training(task, layer, lr, seed, config.steps)) for lr in config.lr]
    what = json.dumps([trainings, asdict(config.effort), config.seconds], sort_keys=True)
    return f"tune-{hashlib.sha256(what.encode()).hexdigest()[:12]}", trainings


def _tunings(config: CompareConfig) -> dict[str, Job]:
    if not config.tunes:
        return {}
    jobs = {}
    for task, layer in _cells(config):
        name, trainings = _tuning(config, task, layer)
        work = {
            "work": "tune",
            "trainings": trainings,
            "effort": asdict(config.effort),
            "seconds": config.seconds,
            "folder": str(config.folder),
        }
        point = f"{task.name} · {look_of(layer).label} · learning rate"
        jobs[name] = Job(point, config.seeds[0], work)
    return jobs


def _runs(config: CompareConfig, tuned: dict[str, dict[str, Any]]) -> dict[str, Job]:
    """{run name: job}; a cell that could not be tuned has none."""
    jobs = {}
    for seed in config.seeds:
        for task, layer in _cells(config):
            known = tuned.get(_tuning(config, task, layer)[0]) if config.tunes else None
            if known is None and config.tunes:
                continue
            lr, steps = (known["lr"], known["steps"]) if known else (config.lr[0], config.steps)
            training = config.training(task, layer, lr, seed, steps)
            name = run_name(training, config.effort)
            work = {
                "work": "run",
                "training": to_dict(training),
                "effort": asdict(config.effort),
                "folder": str(config.folder / name),
            }
            jobs[name] = Job(f"{task.name} · {look_of(layer).label} · lr {lr:g}", seed, work)
    return jobs


def _comparison(
    config: CompareConfig, tuned: dict[str, dict[str, Any]], made: dict[str, dict[str, Any]]
) -> Comparison:
    runs = [run_from_dict(values) for values in made.values()]
    found = []
    for task in config.tasks:
        mine = [run for layer in config.contenders for run in runs if _is_of(run, task.name, layer)]
        if mine:
            found.append(_results(config, task, mine, tuned))
    return Comparison(
        tasks=found,
        command=command(f"ramgru.lab.compare.compare({config!r})", config.storage),
        config=config.as_dict(),
        machine=machine.describe(),
    )


def _is_of(run: Run, task: str, layer: str) -> bool:
    return (run.task, run.layer) == (task, layer)


def _results(
    config: CompareConfig, task: Task, runs: list[Run], tuned: dict[str, dict[str, Any]]
) -> Results:
    tried = []
    for layer in config.contenders:
        known = tuned.get(_tuning(config, task, layer)[0])
        tried += [Trial(layer, **rate) for rate in (known or {}).get("rates", ())]
    return Results(
        task=task.name,
        metric=task.metric,
        trained={k: v for k, v in task.options().items() if k in runs[0].rows[0].axes},
        runs=runs,
        tried=tried,
        memory=_memory(config, task, runs),
    )


def _memory(config: CompareConfig, task: Task, runs: list[Run]) -> Memory | None:
    """Inside the first RAM-GRU: one sample of the training size, and cells in use at the last
    slice of the evaluation; None where there is none."""
    ours = next((run for run in runs if run.layer.split(",")[0] == "ramgru"), None)
    if ours is None:
        return None
    _, _, model = load_run(config.folder / ours.name)
    seed = held_out_seed(config.seeds[0], 0)
    hardest = next(p for p in task.grid() if dict(p.axes) == ours.rows[-1].axes)
    view = look(model, task, draw(task.held_out(), seed))
    if view is None:
        return None
    occupancy = cells_in_use(model, draw(hardest.task, seed), view.block)
    sample = view.sample if view.exact and len(view.sample.answers) <= MOST_ASKED else None
    return Memory(ours.name, occupancy, dict(hardest.axes), sample)
