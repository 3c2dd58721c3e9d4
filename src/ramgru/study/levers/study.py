"""`ramgru study`: every point of the levers trained, evaluated and measured, and one report.

Killed at any moment, the same command goes on: what is finished is reused, what is not is resumed.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.report import machine
from ramgru.study.command import command
from ramgru.study.levers.config import StudyConfig
from ramgru.study.levers.grid import BEAT, Grid, opened
from ramgru.study.levers.points import Point
from ramgru.study.levers.report import DATA, REPORT, show
from ramgru.study.levers.results import PointRun, Results, from_json, point_run
from ramgru.study.levers.workers import Workers
from ramgru.train.configfile import to_dict
from ramgru.train.run import locked

TABLE = "study.csv"
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
        _make(config, grid, console)
        found, failed = grid.results(), grid.errors()
    made = [point_run(point.name, found[run]) for run, (point, _) in runs.items() if run in found]
    if not made:
        run, why = next(iter(failed.items()))
        raise RamgruError(f"all {len(failed)} runs failed; the first, {run}: {why}")
    text = _results(config, made, failed).to_json()
    results = from_json(text)  # what is shown now is what is shown when it is drawn again
    files.write(folder / DATA, text)
    files.write(folder / TABLE, results.to_csv())
    path = show(results, folder / REPORT, console)
    if failed:
        run, why = next(iter(failed.items()))
        raise RamgruError(
            f"{len(failed)} of {len(wanted)} runs failed, and the report is without them; the "
            f"same command tries them again. The first, {run}: {why}"
        )
    return path


def _make(config: StudyConfig, grid: Grid, console: Console) -> None:
    """Take runs and have them made until none is left, here or on other machines."""
    runs = config.runs()
    grid.revive(own=True)
    grid.fill()
    done = len(grid.results())
    before = f", {done} of them finished before" if done else ""
    console.print(f"{len(runs)} runs{before}; {config.at_a_time} at a time")
    names: dict[int, str] = {}  # of the runs made here, by the number of their trial
    died: set[str] = set()
    with Workers(config.at_a_time, config.threads, config.folder) as workers:
        last = time.monotonic()
        while True:
            while workers.free and (taken := grid.take()) is not None:
                number, run = taken
                names[number] = run
                workers.give(number, _job(config, run, *runs[run]))
            if not workers.busy and not grid.revive(own=False):
                return
            answer = workers.answer(IDLE)
            if time.monotonic() - last > BEAT:
                last = time.monotonic()
                grid.beat(workers.busy)
                grid.revive(own=False)
            if answer is not None:
                number, said = answer
                point, seed = runs[names[number]]
                how = _tell(grid, number, said, names[number], died)
                count = f"{len(grid.results())}/{len(runs)}"
                console.print(f"{count} · {point.name} · seed {seed}: {how}", soft_wrap=True)


def _job(config: StudyConfig, run: str, point: Point, seed: int) -> dict[str, Any]:
    """What a worker is asked for."""
    return {
        "training": to_dict(config.training(point, seed)),
        "effort": asdict(config.effort),
        "folder": str(config.folder / run),
    }


def _tell(grid: Grid, number: int, said: Mapping[str, Any], run: str, died: set[str]) -> str:
    """What a worker said of a run, to the queue; -> how it went, in words.

    died: runs whose process died before; a first death (a kill, memory) is no fault of the run.
    """
    if "run" in said:
        scores = [row["score"] for row in said["run"]["rows"]]
        grid.done(number, sum(scores) / len(scores), said)
        return "done"
    why = next(iter(said.values()))
    again = "died" in said and run not in died
    died.add(run)
    grid.failed(number, why, again=again)
    return f"{'once more, since' if again else 'failed:'} {why}"


def _results(config: StudyConfig, made: list[PointRun], failed: dict[str, str]) -> Results:
    points = config.points()
    axes = made[0].run.rows[0].axes
    call = f"ramgru.study.levers.study.study({config!r})"
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
