"""Jobs worked off: here, one after the other, or by processes side by side and on other machines.

A comparison or a study is a set of jobs. Killed at any moment, the same jobs go on where they were.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from ramgru.errors import RamgruError
from ramgru.lab.compare import runs, work

IDLE = 1.0  # seconds between two looks at a queue of which other machines have the rest


@dataclass(frozen=True)
class Job:
    """point, seed: what it is, for people. work: what is to be done, as `work.do` takes it."""

    point: str
    seed: int
    work: dict[str, Any]


@dataclass(frozen=True)
class Crew:
    """Who works: how many `jobs` at a time with how many `threads` each, and where they meet.

    name: of the queue. storage: of Optuna, as a URL; None: a SQLite file in `folder`.
    """

    folder: Path
    name: str
    jobs: int
    threads: int
    storage: str | None = None

    def work_off(
        self, jobs: Mapping[str, Job], console: Console
    ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """jobs by a name that says all they depend on -> {name: what came of it}, {name: why it
        came to nothing}.

        Raises runs.Interrupted where a job was told to stop.
        """
        if self.jobs == 1 and self.storage is None:
            return _alone(jobs, console)
        return _together(self, jobs, console)


def _alone(
    jobs: Mapping[str, Job], console: Console
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for name, job in jobs.items():
        console.print(f"{job.point} · seed {job.seed}", soft_wrap=True)
        try:
            done[name] = work.do(job.work, quiet=console.quiet)
        except runs.Interrupted:
            raise
        except (RamgruError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            console.print(f"failed: {failed[name]}", soft_wrap=True)
    return done, failed


def _together(
    crew: Crew, jobs: Mapping[str, Job], console: Console
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    from ramgru.lab.compare.grid import BEAT, opened
    from ramgru.lab.compare.workers import Workers

    wanted = {name: {"point": job.point, "seed": job.seed} for name, job in jobs.items()}
    with opened(crew.folder, crew.name, wanted, crew.storage) as grid:
        grid.revive(own=True)
        grid.fill()
        done = len(grid.results())
        before = f", {done} of them done before" if done else ""
        console.print(f"{len(jobs)} jobs{before}; {crew.jobs} at a time")
        names: dict[int, str] = {}  # of the jobs done here, by the number of their trial
        died: set[str] = set()
        with Workers(crew.jobs, crew.threads, crew.folder) as workers:
            last = time.monotonic()
            while True:
                while workers.free and (taken := grid.take()) is not None:
                    number, name = taken
                    names[number] = name
                    workers.give(number, jobs[name].work)
                if not workers.busy and not grid.revive(own=False):
                    break
                answer = workers.answer(IDLE)
                if time.monotonic() - last > BEAT:
                    last = time.monotonic()
                    grid.beat(workers.busy)
                    grid.revive(own=False)
                if answer is not None:
                    number, said = answer
                    how = _tell(grid, number, said, names[number], died)
                    job = jobs[names[number]]
                    count = f"{len(grid.results())}/{len(jobs)}"
                    console.print(f"{count} · {job.point} · seed {job.seed}: {how}", soft_wrap=True)
        return grid.results(), grid.errors()


def _tell(grid: Any, number: int, said: Mapping[str, Any], name: str, died: set[str]) -> str:
    """What a worker said of a job, to the queue; -> how it went, in words.

    died: jobs whose process died before; a first death (a kill, memory) is no fault of the job.
    """
    if not {"error", "interrupted", "died"} & set(said):
        grid.done(number, _value(said), said)
        return "done"
    why = next(iter(said.values()))
    again = "died" in said and name not in died
    died.add(name)
    grid.failed(number, why, again=again)
    return f"{'once more, since' if again else 'failed:'} {why}"


def _value(said: Mapping[str, Any]) -> float:
    """What Optuna shows of a job: the mean score of a run, the learning rate of a tuning."""
    if "run" not in said:
        return float(said["lr"])
    scores = [row["score"] for row in said["run"]["rows"]]
    return sum(scores) / len(scores)
