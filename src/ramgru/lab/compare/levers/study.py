"""`ramgru study`: every point of the levers trained, evaluated and measured, and one report.

Killed at any moment, the same command goes on: what is finished is reused, what is not is resumed.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.compare.command import command
from ramgru.lab.compare.jobs import Crew, Job
from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.compare.levers.points import Point
from ramgru.lab.compare.levers.report import DATA, REPORT, show
from ramgru.lab.compare.levers.results import PointRun, Results, from_json, point_run
from ramgru.lab.show import machine
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.run import locked

TABLE = "study.csv"


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
    jobs = {
        run: Job(point.name, seed, _work(config, run, point, seed))
        for run, (point, seed) in runs.items()
    }
    name = f"ramgru-study-{config.task.name}"
    crew = Crew(folder, name, config.at_a_time, config.threads, config.storage)
    with locked(folder):
        found, failed = crew.work_off(jobs, console)
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
            f"{len(failed)} of {len(jobs)} runs failed, and the report is without them; the "
            f"same command tries them again. The first, {run}: {why}"
        )
    return path


def _work(config: StudyConfig, run: str, point: Point, seed: int) -> dict[str, Any]:
    return {
        "work": "point",
        "training": to_dict(config.training(point, seed)),
        "effort": asdict(config.effort),
        "folder": str(config.folder / run),
    }


def _results(config: StudyConfig, made: list[PointRun], failed: dict[str, str]) -> Results:
    points = config.points()
    axes = made[0].run.rows[0].axes
    call = f"ramgru.lab.compare.levers.study.study({config!r})"
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
