"""Train the rows of a page, ask their questions, and keep the results as JSON.

A run is a directory named by a digest of its options; a measurement is a file in that directory,
named by a digest of the question. Finished work is reused, and an interrupted run is resumed.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from claims_rows import Page, Question, Row

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.compare.results import curve_of
from ramgru.lab.show import machine
from ramgru.lab.train import TrainConfig, log
from ramgru.lab.train.build import build_model, count_parameters
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.run import LOG

ROOT = Path("runs/claims")
MEASURED = "measured"
Record = dict[str, Any]  # the results of one row, as JSON values


@dataclass(frozen=True)
class Job:
    """One run: a training, then its questions."""

    training: TrainConfig
    questions: tuple[Question, ...] = ()


# Train and measure


def run(rows: Sequence[Row], root: Path, seeds: Sequence[int] = (), processes: int = 1) -> bool:
    """Finish all runs of `rows`; -> whether none of them failed.

    seeds: replace the rows' own seeds. Raises Interrupted when training was asked to stop.
    """
    first = [Job(trial) for row in rows for trial in row.trials]
    first += [job for row in rows if not row.rates for job in _jobs(row, row.training, seeds)]
    fine = _all(first, root, processes)
    tuned = [
        job
        for row in rows
        if row.rates and (best := chosen(row, root)) is not None
        for job in _jobs(row, best, seeds)
    ]
    return _all(tuned, root, processes) and fine


def chosen(row: Row, root: Path) -> TrainConfig | None:
    """The row's training at the rate with the lowest held-out loss; None before all were tried."""
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
    """The directory of a run."""
    return root / runs.run_name(training)


def measurement(question: Question, folder: Path) -> Path:
    """The file of one measurement in the directory of a run."""
    digest = hashlib.sha256(json.dumps(_asked(question), sort_keys=True).encode()).hexdigest()
    return folder / MEASURED / f"{question.task.name}-{digest[:12]}.json"


def _asked(question: Question) -> dict[str, Any]:
    return {
        "measure": question.measure.__name__,
        "task": tasks.to_config(question.task),
        "effort": asdict(question.effort),
    }


def do(job: Job, root: Path) -> bool:
    """Train and measure whatever is missing; -> whether the job succeeded."""
    folder = folder_of(job.training, root)
    try:
        if not runs.finished(folder):
            print(f"{folder.name}: at most {job.training.total_steps:,} steps", flush=True)
        runs.trained(job.training, folder, quiet=True)
        torch.set_num_threads(job.training.threads or torch.get_num_threads())
        for question in job.questions:
            _measure(question, folder)
    except runs.Interrupted:
        raise
    except (RamgruError, ValueError) as error:  # other jobs can still succeed
        print(f"{folder.name}: {error}", file=sys.stderr, flush=True)
        return False
    return True


def _measure(question: Question, folder: Path) -> None:
    path = measurement(question, folder)
    if path.exists():
        return
    start = time.monotonic()
    found = question.measure(folder, question.task, question.effort)
    shown = " · ".join(f"{name} {value:.6g}" for name, value in found.items())
    print(f"{folder.name}: {dict(question.axes)}: {shown}", flush=True)
    path.parent.mkdir(exist_ok=True)
    values = {
        "asked": _asked(question),
        "found": found,
        "seconds": round(time.monotonic() - start, 1),
        "machine": machine.describe(),
    }
    files.write_json(path, values)


def _all(jobs: Sequence[Job], root: Path, processes: int) -> bool:
    """All jobs, in this process or in several, one thread each; -> whether all succeeded."""
    work = partial(do, root=root)
    if processes == 1 or len(jobs) < 2:
        return all([work(job) for job in jobs])
    # Spawned, because a forked process would share torch's threads with its parent.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_follow_parent) as pool:
        return all(_in_turn(pool, work, iter(jobs), processes))


def _in_turn(
    pool: ProcessPoolExecutor, work: Callable[[Job], bool], jobs: Iterator[Job], processes: int
) -> list[bool]:
    """Hands out a job only when a process is free, so that an interrupt leaves no queue behind."""
    going, fine = {pool.submit(work, job) for job in islice(jobs, processes)}, []
    while going:
        ended, going = wait(going, return_when=FIRST_COMPLETED)
        fine += [future.result() for future in ended]
        going |= {pool.submit(work, job) for job in islice(jobs, len(ended))}
    return fine


def _follow_parent() -> None:
    """End this process with its parent, however the parent ended; training saves first."""

    def follow() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=follow, daemon=True).start()


# Results


def recipe(row: Row) -> dict[str, Any]:
    """All that the results of a row depend on, except for seeds, as JSON values."""
    training = to_dict(row.training)
    for name in ("out", "resume", "seed", *(("lr",) if row.rates else ())):
        training.pop(name, None)
    if row.training.model.layer != "ramgru":  # options of our layer, which a peer ignores
        training["model"] = {
            name: value for name, value in training["model"].items() if name in PEER_OPTIONS
        }
        training.pop("write_cost")
    asked = [_asked(question) for question in row.questions]
    values: dict[str, Any] = json.loads(
        json.dumps({"training": training, "rates": row.rates, "asked": asked})
    )
    return values


PEER_OPTIONS = ("layer", "d_model", "num_layers", "mlp_ratio", "dropout", "hidden_size")


def collect(row: Row, root: Path, seeds: Sequence[int] = ()) -> Record | None:
    """The results of the finished runs of a row; None if no run is finished."""
    training = chosen(row, root)
    if training is None:
        return None
    found = {}
    for seed in seeds or row.seeds:
        folder = folder_of(replace(training, seed=seed), root)
        papers = [measurement(question, folder) for question in row.questions]
        if runs.finished(folder) and all(paper.exists() for paper in papers):
            found[str(seed)] = _seed(row, seed, folder, papers)
    if not found:
        return None
    model = build_model(training.model, training.task)
    length = training.task.draw(1, 0).inputs.shape[1]
    return {
        "recipe": recipe(row),
        "lr": training.lr,
        "parameters": count_parameters(model),
        "state_bytes": 4 * (model.state_size + length * model.state_growth),
        "seeds": found,
    }


def _seed(row: Row, seed: int, folder: Path, papers: Sequence[Path]) -> dict[str, Any]:
    events = log.read(folder / LOG)
    end = next(event for event in reversed(events) if event.get("event") == "end")
    read = [json.loads(paper.read_text(encoding="utf-8")) for paper in papers]
    machines = dict.fromkeys(_machine(each["machine"]) for each in read)
    values = {
        "steps": int(end["step"]),
        "seconds": float(end["seconds"]),
        "machine": "; ".join(machines),
        "found": [each["found"] for each in read],
    }
    if row.picture == "curves":
        layer, metric = row.training.model.layer, row.training.task.metric
        values["curve"] = asdict(curve_of(events, layer, seed, metric))
    return values


def _machine(facts: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {value}" for name, value in facts.items())


def read(page: Page, path: Path) -> dict[str, Record]:
    """The stored results of a page by row, without those of another recipe than the table's."""
    stored = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return {
        row.name: stored[row.name]
        for row in page.rows
        if row.name in stored and _holds(stored[row.name]["recipe"], recipe(row))
    }


def _holds(stored: Any, now: Any) -> bool:
    """Whether two recipes agree; an option that did not exist when the results were made is left
    out of the comparison."""
    if isinstance(stored, dict) and isinstance(now, dict):
        return all(name in now and _holds(value, now[name]) for name, value in stored.items())
    return bool(stored == now)


def update(page: Page, path: Path, root: Path, seeds: Sequence[int] = ()) -> dict[str, Record]:
    """Add the results of finished runs to the stored ones, seed by seed; -> all of them.

    A row may be measured in several sittings and on several machines.
    """
    stored = read(page, path)
    for row in page.rows:
        new, old = collect(row, root, seeds), stored.get(row.name)
        if new is None:
            continue
        if old is not None and old["lr"] == new["lr"]:
            each = {**old["seeds"], **new["seeds"]}
            new["seeds"] = {seed: each[seed] for seed in sorted(each, key=int)}
        if old is None or len(new["seeds"]) >= len(old["seeds"]):
            stored[row.name] = new
    ordered = {row.name: stored[row.name] for row in page.rows if row.name in stored}
    if ordered:
        path.parent.mkdir(parents=True, exist_ok=True)
        files.write_json(path, ordered)
    return ordered
