"""`ramgru study`: every point of the levers trained, evaluated and measured, and one report.

Killed at any moment, the same command goes on: what is finished is reused, what is not is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru import files
from ramgru.errors import DataError, RamgruError
from ramgru.report import html, machine
from ramgru.study.command import command
from ramgru.study.levers import terminal
from ramgru.study.levers.config import StudyConfig
from ramgru.study.levers.grid import BEAT, Grid, opened
from ramgru.study.levers.page import page
from ramgru.study.levers.results import PointRun, Results, from_json, point_run
from ramgru.study.levers.workers import Workers
from ramgru.train.configfile import to_dict
from ramgru.train.run import locked

DATA, TABLE, REPORT = "study.json", "study.csv", "report.html"
IDLE = 1.0  # seconds between two looks at a queue of which other machines have the rest


def study(config: StudyConfig, *, quiet: bool = False) -> Path:
    """Make all runs, several at a time, and report; -> the path of the report.

    Written into `config.folder`: a run directory a point and seed, study.json (everything that the
    report shows), study.csv (tidy) and report.html.
    quiet: print nothing.
    Raises ValueError for options that do not fit together; RamgruError where another process
    writes the folder, or where a run failed: the report is then without it.
    """
    console = Console(quiet=quiet, highlight=False)
    folder = config.folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RamgruError(f"cannot make the folder {folder}: {error.strerror}") from error
    runs = config.runs()
    wanted = {run: {"point": point.name, "seed": seed} for run, (point, seed) in runs.items()}
    name = f"ramgru-study-{config.task.name}"
    with locked(folder), opened(folder, name, wanted, config.storage) as grid:
        failed = _make(config, grid, console)
        found = grid.results()
    made = [point_run(point.name, found[run]) for run, (point, _) in runs.items() if run in found]
    if not made:
        run, why = next(iter(failed.items()))
        raise RamgruError(f"all {len(failed)} runs failed; the first, {run}: {why}")
    results = _results(config, made, failed)
    files.write(folder / DATA, results.to_json())
    files.write(folder / TABLE, results.to_csv())
    path = _show(results, folder / REPORT, console)
    if failed:
        run, why = next(iter(failed.items()))
        raise RamgruError(
            f"{len(failed)} of {len(wanted)} runs failed, and the report is without them; the "
            f"same command tries them again. The first, {run}: {why}"
        )
    return path


def report(source: Path, out: Path | None = None, *, quiet: bool = False) -> Path:
    """Draw a study's report again; -> its path.

    source: its directory, or its study.json. out: the file; None: report.html beside the data.
    Raises DataError where the data is missing, broken or foreign.
    """
    if source.is_dir():
        source = source / DATA
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {source}: expected what `ramgru study` wrote ({error})"
        ) from error
    console = Console(quiet=quiet, highlight=False)
    return _show(from_json(text, str(source)), out or source.with_name(REPORT), console)


def _show(results: Results, path: Path, console: Console) -> Path:
    html.write(page(results), path)
    terminal.show(results, console)
    console.print(f"report: {path}", soft_wrap=True)
    return path


def _make(config: StudyConfig, grid: Grid, console: Console) -> dict[str, str]:
    """Take runs until none is left, here or on other machines; -> {run that failed: why}."""
    runs = config.runs()
    failed: dict[str, str] = {}
    here: dict[int, str] = {}
    grid.revive(own=True)
    grid.fill()
    report_on = _progress(config, grid, console)
    with Workers(config.at_a_time, config.threads, config.folder) as workers:
        beat = time.monotonic()
        while True:
            while workers.free and (taken := grid.take()) is not None:
                number, run = taken
                here[number] = run
                point, seed = runs[run]
                training = config.training(point, seed)
                job = {
                    "training": to_dict(training),
                    "effort": asdict(config.effort),
                    "folder": str(config.folder / run),
                }
                workers.give(number, job)
            if not workers.busy and not grid.revive(own=False):
                return failed
            said = workers.answer(IDLE)
            if time.monotonic() - beat > BEAT:
                beat = time.monotonic()
                grid.beat(workers.busy)
                grid.revive(own=False)
            if said is not None:
                number, result = said
                _tell(grid, number, here[number], result, failed)
                report_on(here[number], failed.get(here[number]))


def _tell(
    grid: Grid, number: int, run: str, result: Mapping[str, Any], failed: dict[str, str]
) -> None:
    """What a worker said of a run, to the queue and into `failed`."""
    try:
        scores = [row["score"] for row in result["run"]["rows"]]
    except KeyError:
        failed[run] = result.get("error", "interrupted")
        grid.failed(number, failed[run])
        return
    grid.done(number, sum(scores) / len(scores), result)


def _progress(
    config: StudyConfig, grid: Grid, console: Console
) -> Callable[[str, str | None], None]:
    """Says a line a run, with how many are done of all."""
    runs, done = config.runs(), len(grid.results())
    before = f", {done} of them finished before" if done else ""
    console.print(f"{len(runs)} runs{before}; {config.at_a_time} at a time")

    def say(run: str, why: str | None) -> None:
        nonlocal done
        point, seed = runs[run]
        done += why is None
        how = f"failed: {why}" if why else "done"
        console.print(f"{done}/{len(runs)} · {point.name} · seed {seed}: {how}", soft_wrap=True)

    return say


def _results(config: StudyConfig, made: list[PointRun], failed: dict[str, str]) -> Results:
    points = config.points()
    axes = made[0].run.rows[0].axes
    call = f"ramgru.study.levers.study({config!r})"
    threads = f"{config.threads} a run, {config.at_a_time} runs at a time"
    return Results(
        task=config.task.name,
        metric=config.task.metric,
        trained={k: v for k, v in config.task.options().items() if k in axes},
        levers={lever: [point.name for point in of] for lever, of in points.items()},
        options={point.name: point.options for of in points.values() for point in of},
        runs=made,
        failed=failed,
        command=command(call, config.storage),
        config=config.as_dict(),
        machine={**machine.describe(), "torch threads": threads},
    )
