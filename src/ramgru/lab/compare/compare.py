"""`ramgru compare`: layers trained with one budget, a table, and a report.

First each layer's learning rate is tuned on each task, then one run a seed is trained. Killed at
any moment, the same command resumes: finished runs are reused and others are resumed.
"""

from __future__ import annotations

import hashlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru import files
from ramgru.errors import DataError, RamgruError
from ramgru.lab.compare import budget, forecast, jobs, terminal
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
from ramgru.lab.compare.runs import is_run_name, run_name
from ramgru.lab.compare.table import to_csv, write_parquet
from ramgru.lab.show import html, machine
from ramgru.lab.show.example import draw
from ramgru.lab.show.theme import look as look_of
from ramgru.lab.show.view import cells_in_use, look
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.run import CONFIG, load_run, locked

DATA, TABLE, REPORT = "compare.json", "compare.csv", "report.html"
COMMAND = "command.txt"  # from the beginning on, so that an interrupted comparison can go on
MOST_ASKED = 64  # questions that fit into a picture of one sample


def compare(config: CompareConfig, *, quiet: bool = False) -> Path:
    """Train, evaluate and report; -> the path of the report.

    Writes into `config.folder`: a directory for each run, compare.json (all that the report shows),
    compare.csv (tidy; with pyarrow also compare.parquet), report.html and command.txt.
    quiet: print nothing.
    Raises ValueError for options that do not fit together; RamgruError if another process writes
    the folder, a signal stopped training, or a run failed: the report then leaves that run out.
    """
    console = _console(quiet)
    for layer in config.contenders:
        layers.import_own(layer)  # the caller names it, so its runs may be read
    try:
        config.folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RamgruError(f"cannot make the folder {config.folder}: {error.strerror}") from error
    crew = Crew(config.folder, config.jobs, config.threads or int(config.jobs > 1), config.storage)
    with locked(config.folder):
        check_own(config.folder)
        files.write(config.folder / COMMAND, command(config) + "\n")
        if not quiet:
            with console.status("timing a few steps of each layer …"):
                line = forecast.text(config)
            console.print(line, soft_wrap=True, markup=False)
        tuned, failed = crew.work_off(_tunings(config), console)
        made, more = crew.work_off(_runs(config, tuned), console)
        failed |= more
        name, why = next(iter(failed.items()), ("", ""))
        if not made:
            raise RamgruError(f"all {len(failed)} jobs failed; the first, {name}: {why}")
        comparison = _comparison(config, tuned, made)
        text = comparison.to_json()
        comparison = from_json(text)  # the report shows the same data when it is drawn again
        files.write_json(config.folder / DATA, json.loads(text), with_digest=True)
        files.write(config.folder / TABLE, to_csv(comparison))
        write_parquet(comparison, config.folder / TABLE)
        path = _show(comparison, config.folder / REPORT, console)
    if failed:
        raise RamgruError(
            f"{len(failed)} jobs failed, and the report leaves them out; the same command tries "
            f"them again. The first, {name}: {why}"
        )
    return path


def check_own(folder: Path) -> None:
    """Raise ValueError if a directory is neither empty nor that of a comparison."""
    names = sorted(path.name for path in folder.iterdir() if not files.is_temporary(path))
    ours = (budget.FILE, jobs.DATABASE, DATA, COMMAND)
    if names and not any(name in ours or is_run_name(name) for name in names):
        shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
        raise ValueError(
            f"out must be a new or an empty directory, or that of a comparison, got {folder}, "
            f"with {shown}"
        )


@dataclass(frozen=True)
class ReportConfig:
    """Draw the report of a comparison again from its saved data, without training."""

    comparison: Path
    """Directory of the comparison, or its compare.json."""
    out: Path | None = None
    """HTML file to write; None: report.html beside the data."""


def report(config: ReportConfig, *, quiet: bool = False) -> Path:
    """Draw a comparison's report again; -> its path.

    Raises DataError if the data is missing, broken or foreign.
    """
    path = config.comparison
    path = path / DATA if path.is_dir() else path
    try:
        text = files.read(path, files.JSON_MOST).decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: expected the data of `ramgru compare` ({error})"
        ) from error
    out = config.out if config.out is not None else path.with_name(REPORT)
    return _show(from_json(text, str(path)), out, _console(quiet))


def _console(quiet: bool) -> Console:
    console = Console(quiet=quiet, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = 100
    return console


def _show(comparison: Comparison, path: Path, console: Console) -> Path:
    html.write(page(comparison), path)
    terminal.show(comparison, console)
    console.print(f"report: {path}", soft_wrap=True, markup=False)
    return path


def command(config: CompareConfig) -> str:
    """The command line of this process, or the call from Python; the storage is not shown."""
    program, words = Path(sys.argv[0]), sys.argv[1:]
    if program.name == "ramgru":
        shown = shlex.join(["ramgru", *words])
    elif program.name == "__main__.py" and program.parent.name == "ramgru":
        shown = shlex.join(["python", "-m", "ramgru", *words])
    else:
        shown = f"ramgru.lab.compare.compare({config!r})"
    return shown.replace(config.storage, "…") if config.storage else shown


def _cells(config: CompareConfig) -> Iterator[tuple[Task, str]]:
    """Every layer on every task, task by task."""
    for task in config.tasks:
        for layer in config.contenders:
            yield task, layer


def _tuning(config: CompareConfig, task: Task, layer: str) -> tuple[str, list[dict[str, Any]]]:
    """The name of a cell's tuning, and its runs on the first seed, one a rate."""
    seed = config.seeds[0]
    trainings = [to_dict(config.training(task, layer, lr, seed, config.steps)) for lr in config.lr]
    what = json.dumps([trainings, asdict(config.effort), config.seconds], sort_keys=True)
    return f"tune-{hashlib.sha256(what.encode()).hexdigest()[:12]}", trainings


def _tunings(config: CompareConfig) -> dict[str, Job]:
    found = {}
    for task, layer in _cells(config) if config.tunes else ():
        name, trainings = _tuning(config, task, layer)
        work = {"trainings": trainings, "seconds": config.seconds, "folder": str(config.folder)}
        work["effort"] = asdict(config.effort)
        found[name] = Job(f"{task.name} · {look_of(layer).label} · learning rate", work)
    return found


def _runs(config: CompareConfig, tuned: Mapping[str, dict[str, Any]]) -> dict[str, Job]:
    """{run name: job}, without the cells whose tuning failed."""
    found = {}
    for seed in config.seeds:
        for task, layer in _cells(config):
            known: dict[str, Any] = {"lr": config.lr[0], "steps": config.steps}
            if config.tunes:
                known = tuned.get(_tuning(config, task, layer)[0], {})
            if not known:
                continue
            lr, steps = known["lr"], known["steps"]
            training = config.training(task, layer, lr, seed, steps)
            name = run_name(training, config.effort)
            work = {"training": to_dict(training), "folder": str(config.folder / name)}
            work["effort"] = asdict(config.effort)
            label = f"{task.name} · {look_of(layer).label} · lr {lr:g} · seed {seed}"
            found[name] = Job(label, work)
    return found


def _comparison(
    config: CompareConfig,
    tuned: Mapping[str, dict[str, Any]],
    made: Mapping[str, dict[str, Any]],
) -> Comparison:
    runs = sorted(map(run_from_dict, made.values()), key=lambda run: config.seeds.index(run.seed))
    found = []
    for task in config.tasks:
        mine = [
            run
            for layer in config.contenders
            for run in runs
            if (run.task, run.layer) == (task.name, layer)
        ]
        if mine:
            found.append(_results(config, task, mine, tuned))
    return Comparison(
        tasks=found, command=command(config), config=config.as_dict(), machine=machine.describe()
    )


def _results(
    config: CompareConfig, task: Task, runs: list[Run], tuned: Mapping[str, dict[str, Any]]
) -> Results:
    tried = []
    for layer in config.contenders:
        known = tuned.get(_tuning(config, task, layer)[0], {})
        tried += [Trial(**rate) for rate in known.get("rates", ())]
    return Results(
        task=task.name,
        metric=task.metric,
        trained={k: v for k, v in task.options().items() if k in runs[0].rows[0].axes},
        runs=runs,
        tried=tried,
        memory=_memory(config, task, runs),
        groups=config.groups,
    )


def _memory(config: CompareConfig, task: Task, runs: list[Run]) -> Memory | None:
    """The memory of the first RAM-GRU on this machine: one sample of the training size, and the
    cells in use at the last slice of the evaluation."""
    ours = [run for run in runs if run.layer.split(",")[0] == "ramgru"]
    here = [run for run in ours if (config.folder / run.name / CONFIG).exists()]
    if not here:
        return None
    _, _, model = load_run(config.folder / here[0].name)
    seed = held_out_seed(config.seeds[0], 0)
    hardest = next(p for p in task.grid() if dict(p.axes) == here[0].rows[-1].axes)
    view = look(model, task, draw(task.held_out(), seed))
    if view is None:
        return None
    occupancy = cells_in_use(model, draw(hardest.task, seed), view.block)
    sample = view.sample if len(view.sample.answers) <= MOST_ASKED else None
    return Memory(here[0].name, occupancy, dict(hardest.axes), sample)
