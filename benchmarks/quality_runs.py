"""Training and measuring what rows ask for, over several sittings and after kills.

A run is a directory named by a digest of its options; a measurement is a file in it, named by a
digest of what was asked. What is there is reused, and a run that was broken off goes on.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from quality_rows import Question, Row

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.show import machine
from ramgru.lab.train import TrainConfig
from ramgru.lab.train.run import locked

MEASURED = "measured"
PAUSE = 1.0  # seconds between looks at a run that another process holds


@dataclass(frozen=True)
class Job:
    """One run: trained, then asked."""

    training: TrainConfig
    questions: tuple[Question, ...] = ()


def run(rows: Sequence[Row], root: Path, seeds: Sequence[int] = (), processes: int = 1) -> bool:
    """Bring all runs of `rows` to their end; -> whether none of them failed.

    seeds: in place of those of each row, where given
    Raises Interrupted where training was asked to stop.
    """
    fixed = [Job(trial) for row in rows for trial in row.trials]
    fixed += [job for row in rows if not row.rates for job in _jobs(row, row.training, seeds)]
    fine = _spread(fixed, root, processes)
    tuned = []
    for row in rows:
        training = chosen(row, root) if row.rates else None
        tuned += _jobs(row, training, seeds) if training is not None else []
    return _spread(tuned, root, processes) and fine


def chosen(row: Row, root: Path) -> TrainConfig | None:
    """A row's training, at the rate of the lowest held-out loss; None before all were tried."""
    losses = {}
    for trial in row.trials:
        folder = folder_of(trial, root)
        if not runs.finished(folder):
            return None
        losses[trial.lr] = runs.held_out(folder, trial.task.metric)[1]
    return replace(row.training, lr=min(losses, key=losses.__getitem__)) if losses else row.training


def _jobs(row: Row, training: TrainConfig, seeds: Sequence[int]) -> list[Job]:
    return [Job(replace(training, seed=seed), row.questions) for seed in seeds or row.seeds]


def folder_of(training: TrainConfig, root: Path) -> Path:
    """Where the run of a training is."""
    return root / runs.run_name(training)


def measurement(question: Question, folder: Path) -> Path:
    """Where the answer to a question is kept in the folder of a run."""
    digest = hashlib.sha256(json.dumps(_asked(question), sort_keys=True).encode()).hexdigest()
    return folder / MEASURED / f"{question.task.name}-{digest[:12]}.json"


def _asked(question: Question) -> dict[str, Any]:
    return {
        "measure": question.measure.__name__,
        "task": tasks.to_config(question.task),
        "effort": asdict(question.effort),
    }


def done(job: Job, root: Path) -> bool:
    """Whether a job was trained to its end and answered all of its questions."""
    folder = folder_of(job.training, root)
    answered = all(measurement(question, folder).exists() for question in job.questions)
    return answered and runs.finished(folder)


def do(job: Job, root: Path) -> None:
    """Train, then measure, as far as it was not done before."""
    folder = folder_of(job.training, root)
    print(f"{folder.name}: training, at most {job.training.total_steps:,} steps", flush=True)
    runs.trained(job.training, folder, quiet=True)
    torch.set_num_threads(job.training.threads or torch.get_num_threads())
    for question in job.questions:
        path = measurement(question, folder)
        if path.exists():
            continue
        start = time.monotonic()
        found = question.measure(folder, question.task, question.effort)
        shown = " · ".join(f"{name} {value:.6g}" for name, value in found.items())
        print(f"{folder.name}: {dict(question.axes)}: {shown}", flush=True)
        files.write_json(
            path,
            {
                "asked": _asked(question),
                "found": found,
                "seconds": round(time.monotonic() - start, 1),
                "machine": machine.describe(),
            },
        )


def _work(jobs: Sequence[Job], root: Path) -> bool:
    """All jobs, one after the other; -> whether none failed. One that another process holds is
    left for later: by then it is done, or for this process to go on with."""
    waiting, fine = deque(job for job in jobs if not done(job, root)), True
    while waiting:
        job = waiting.popleft()
        with _claimed(folder_of(job.training, root)) as mine:
            if not mine:
                waiting.append(job)
                time.sleep(PAUSE)
            elif not done(job, root):
                try:
                    do(job, root)
                except runs.Interrupted:
                    raise
                except (RamgruError, ValueError) as error:  # the others can go on
                    print(f"{folder_of(job.training, root).name}: {error}", file=sys.stderr)
                    fine = False
    return fine


@contextlib.contextmanager
def _claimed(folder: Path) -> Iterator[bool]:
    """Whether a run is this process's own meanwhile."""
    (folder / MEASURED).mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locked(folder / MEASURED))  # training holds the run itself
        except RamgruError:
            yield False
            return
        yield True


def _spread(jobs: Sequence[Job], root: Path, processes: int) -> bool:
    """All jobs by so many processes, each of which takes what no other one holds."""
    if processes == 1 or len(jobs) < 2:
        return _work(jobs, root)
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_worker, args=(jobs, root)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if any(worker.exitcode == INTERRUPTED for worker in workers):
        raise runs.Interrupted("interrupted; the same command goes on")
    return not any(worker.exitcode for worker in workers)


INTERRUPTED = 128 + signal.SIGINT


def _worker(jobs: Sequence[Job], root: Path) -> None:
    threading.Thread(target=_follow, daemon=True).start()
    try:
        sys.exit(0 if _work(jobs, root) else 1)
    except (runs.Interrupted, KeyboardInterrupt):
        sys.exit(INTERRUPTED)


def _follow() -> None:
    """Ends this process with the one that began it, however that ended: training saves first."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os.kill(os.getpid(), signal.SIGTERM)
