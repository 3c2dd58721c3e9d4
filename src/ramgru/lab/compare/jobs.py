"""The jobs of a comparison: done here one after the other, or by worker processes through Optuna.

Each job is a trial that waits in a study of Optuna's storage, which several machines can share.
Killed at any moment, the same jobs go on: finished trials are kept, and others are enqueued again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import subprocess
import sys
import time
import warnings
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.compare import runs, worker
from ramgru.lab.compare.tuning import quiet_optuna
from ramgru.lab.train.rules import Interruption

if TYPE_CHECKING:
    import optuna

DATABASE, LOG = "study.db", "workers.log"
POLL = 0.2  # seconds between two looks at the study
DEATHS = 2  # worker processes that end without a result before a job counts as failed
BROKEN = 3  # worker processes in a row that end before they begin a job


@dataclass(frozen=True)
class Job:
    """label: for people. work: JSON values for `worker.do`."""

    label: str
    work: dict[str, Any]


@dataclass(frozen=True)
class Crew:
    """How jobs are done: `processes` at a time, each with this number of CPU `threads`.

    storage: URL of an Optuna storage; None: a SQLite file in `folder`, which this process has
        locked.
    """

    folder: Path
    processes: int
    threads: int
    storage: str | None = None

    def work_off(
        self, jobs: Mapping[str, Job], console: Console
    ) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        """Do jobs named by all that they depend on; -> {name: result}, {name: why it failed}.

        Raises runs.Interrupted if a signal asked to stop.
        """
        if not jobs or (self.processes == 1 and self.storage is None):
            return _one_by_one(jobs, console)
        digest = hashlib.sha256(json.dumps(sorted(jobs)).encode()).hexdigest()[:12]
        import optuna

        url = self.storage or f"sqlite:///{(self.folder / DATABASE).resolve()}"
        with quiet_optuna(), worker.connected(url, f"ramgru-{digest}") as study:
            if self.storage is None:
                _fail(study)  # its workers are dead, since this process holds the folder
            try:
                return _Queue(self, study, url, jobs, console).work_off()
            except optuna.exceptions.StorageInternalError as error:
                raise RamgruError(worker.BROKEN) from error


def _one_by_one(
    jobs: Mapping[str, Job], console: Console
) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
    done: dict[str, dict[str, Any]] = {}
    failed: dict[str, str] = {}
    for number, (name, job) in enumerate(jobs.items(), 1):
        console.print(f"run {number} of {len(jobs)} · {job.label}", soft_wrap=True, markup=False)
        try:
            done[name] = worker.do(job.work, quiet=console.quiet)
        except runs.Interrupted:
            raise
        except (RamgruError, ValueError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            console.print(f"failed: {failed[name]}", soft_wrap=True, markup=False)
    return done, failed


@dataclass
class _Queue:
    """The jobs as trials of a study, and this machine's worker processes by their names."""

    crew: Crew
    study: optuna.Study
    url: str
    jobs: Mapping[str, Job]
    console: Console
    workers: dict[str, subprocess.Popen[str]] = field(default_factory=dict)
    results: dict[str, dict[str, Any]] = field(default_factory=dict)
    errors: dict[str, str] = field(default_factory=dict)
    broken: int = 0

    def work_off(self) -> tuple[dict[str, dict[str, Any]], dict[str, str]]:
        from optuna.storages import fail_stale_trials

        first = len(self.study.get_trials(deepcopy=False))  # earlier failures are tried again
        waiting, left = self.look(first)
        before = f", {len(self.results)} of them done before" if self.results else ""
        self.console.print(f"{len(self.jobs)} jobs{before}; {self.crew.processes} at a time")
        checked = time.monotonic()
        with Interruption() as wish:
            try:
                while left:
                    if wish.signal is not None:
                        raise runs.Interrupted("interrupted; the same command resumes", wish.signal)
                    if waiting and len(self.workers) < min(self.crew.processes, left):
                        self.begin()
                    time.sleep(POLL)
                    for name in [n for n, w in self.workers.items() if w.poll() is not None]:
                        self.end(name)
                    if self.broken >= BROKEN:
                        log = self.crew.folder / LOG
                        raise RamgruError(
                            f"worker processes end before they begin a job; see {log}"
                        )
                    if time.monotonic() - checked > worker.BEAT:
                        checked = time.monotonic()
                        with warnings.catch_warnings():
                            warnings.simplefilter("ignore")  # Optuna calls heartbeats experimental
                            fail_stale_trials(self.study)
                    known = {*self.results, *self.errors}
                    waiting, left = self.look(first)
                    self.tell([n for n in (*self.results, *self.errors) if n not in known])
                    if len(self.results) + len(self.errors) > len(known):
                        self.broken = 0
            finally:
                for one in self.workers.values():
                    _close(one)
                for name in list(self.workers):
                    self.end(name)
        return self.results, self.errors

    def look(self, first: int) -> tuple[int, int]:
        """Sort the trials, and enqueue each job that has none; -> how many jobs wait, and are left.

        first: the number of the first trial whose failure counts.
        """
        from optuna.trial import TrialState

        trials = [t for t in self.study.get_trials(deepcopy=False) if "job" in t.user_attrs]
        for trial in trials:
            if trial.state == TrialState.COMPLETE:
                with contextlib.suppress(ValueError, KeyError):  # broken: the job is done again
                    result = files.unsealed(trial.user_attrs["result"])
                    self.results.setdefault(trial.user_attrs["job"], result)
        trials = [trial for trial in trials if trial.user_attrs["job"] not in self.results]
        left = {t.user_attrs["job"]: t.state for t in trials if not t.state.is_finished()}
        failed = [t for t in trials if t.state.is_finished() and t.number >= first]
        deaths = Counter(t.user_attrs["job"] for t in failed if "error" not in t.user_attrs)
        why = f"{DEATHS} processes ended without a result; see {self.crew.folder / LOG}"
        self.errors = {name: why for name, count in deaths.items() if count >= DEATHS}
        for trial in failed:
            if "error" in trial.user_attrs:
                self.errors[trial.user_attrs["job"]] = trial.user_attrs["error"]
        for name, job in self.jobs.items():
            if name not in self.results and name not in self.errors and name not in left:
                self.study.enqueue_trial({}, user_attrs={"job": name})
                left[name] = TrialState.WAITING
                if deaths[name]:
                    self.print(f"{job.label}: once more, since its process ended without a result")
        return sum(state == TrialState.WAITING for state in left.values()), len(left)

    def tell(self, names: list[str]) -> None:
        count = f"{len(self.results)} of {len(self.jobs)} done"
        for name in names:
            why = f": failed: {self.errors[name]}" if name in self.errors else ""
            self.print(f"{count} · {self.jobs[name].label}{why}")

    def print(self, text: str) -> None:
        self.console.print(text, soft_wrap=True, markup=False)

    def begin(self) -> None:
        """Start a worker process."""
        name = secrets.token_hex(8)
        given = worker.Given(name, self.url, self.study.study_name, self._work())
        env = {**os.environ, "OMP_NUM_THREADS": str(self.crew.threads)}
        env["PYTHONSAFEPATH"] = "1"  # a file of the current folder must not hide a module
        with open(self.crew.folder / LOG, "a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", f"from {worker.__name__} import main; main()"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                text=True,
                encoding="utf-8",
                env=env,
                start_new_session=True,  # Ctrl-C reaches this process, which then tells its workers
            )
        self.workers[name] = process
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # the process is dead, which `poll` will show
            process.stdin.write(json.dumps(asdict(given)) + "\n")
            process.stdin.flush()

    def end(self, name: str) -> None:
        """Wait for a worker that ends; the trial that it leaves behind counts as failed."""
        process = self.workers.pop(name)
        _close(process)
        try:
            process.wait(worker.PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not _fail(self.study, name) and process.returncode:
            self.broken += 1

    def _work(self) -> dict[str, dict[str, Any]]:
        return {name: job.work for name, job in self.jobs.items()}


def _close(process: subprocess.Popen[str]) -> None:
    """End a worker's standard input, which asks it to stop."""
    assert process.stdin is not None
    with contextlib.suppress(OSError):
        process.stdin.close()


def _fail(study: optuna.Study, worker: str | None = None) -> int:
    """Mark the running trials of a worker, or of all workers, as failed; -> how many."""
    from optuna.trial import TrialState

    running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
    left = [t for t in running if worker in (None, t.user_attrs.get("worker"))]
    for trial in left:
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    return len(left)
