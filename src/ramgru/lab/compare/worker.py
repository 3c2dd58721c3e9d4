"""A worker process: Optuna's own loop over the jobs that are enqueued in a study.

Its standard input holds one JSON line (`Given`) and then stays open as long as the parent lives.
When it closes, also because the parent was killed, the worker saves the run in training and ends.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.compare import runs, tuning
from ramgru.lab.evaluate import Effort
from ramgru.lab.train import TrainConfig, layers
from ramgru.lab.train.configfile import from_dict
from ramgru.lab.train.run import InUse, locked

if TYPE_CHECKING:
    import optuna

BEAT, GRACE = 10, 120  # seconds between heartbeats, and without one until a worker counts as dead
BROKEN = (
    "the storage of the jobs is broken: move it away (study.db, unless you named another), and the "
    "same command goes on with the runs that are there"
)
PATIENCE = 60.0  # seconds that the former owner of a run has to save it


@dataclass(frozen=True)
class Given:
    """The instructions of a worker.

    name:    the worker's own, by which its parent finds its trials
    storage: URL of the Optuna storage
    study:   name of the study whose trials are the jobs
    jobs:    {name: JSON values for `do`}
    """

    name: str
    storage: str
    study: str
    jobs: dict[str, dict[str, Any]]


def do(job: Mapping[str, Any], *, quiet: bool = True) -> dict[str, Any]:
    """Do one job, and reuse what was done before; -> JSON values.

    {"trainings": [TrainConfig …], "effort": Effort, "seconds": 0, "folder": "…"} -> Tuned
    {"training": TrainConfig, "effort": Effort, "folder": "…"} -> Run

    Raises RamgruError if the job fails, runs.Interrupted if it was asked to stop.
    """
    folder, effort = Path(job["folder"]), Effort(**job["effort"])
    if "trainings" in job:
        trainings = [from_dict(values) for values in job["trainings"]]
        layers.import_own(trainings[0].model.layer)
        return asdict(tuning.tune(trainings, effort, folder, job["seconds"], quiet=quiet))
    training = from_dict(job["training"])
    layers.import_own(training.model.layer)
    _trained(training, folder, quiet=quiet)
    return asdict(runs.measured(folder, training, effort))


def _trained(training: TrainConfig, folder: Path, *, quiet: bool) -> None:
    """`runs.trained` when no other process writes the run: the worker of a killed parent may still
    save it, or just be about to begin it."""
    folder.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + PATIENCE
    while True:
        try:
            with locked(folder):
                pass
            runs.trained(training, folder, quiet=quiet)
            return
        except InUse:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


@contextmanager
def connected(url: str, study: str) -> Iterator[optuna.Study]:
    """The study of this name in a storage with heartbeats; created if it is new.

    Raises RamgruError if the storage cannot be opened.
    """
    import optuna

    # SQLite's writers wait for each other.
    engine = {"connect_args": {"timeout": 60}} if url.startswith("sqlite") else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        try:
            storage = optuna.storages.RDBStorage(
                url, engine_kwargs=engine, heartbeat_interval=BEAT, grace_period=GRACE
            )
        except Exception as error:  # of SQLAlchemy, or of the driver that the URL names
            kind = url.partition(":")[0]  # the rest may hold a password
            raise RamgruError(
                f"cannot open the storage {kind}:…: {str(error).splitlines()[0]}"
            ) from error
    try:
        try:
            found = optuna.create_study(
                storage=storage,
                study_name=study,
                sampler=optuna.samplers.RandomSampler(seed=0),
                load_if_exists=True,
            )
        except optuna.exceptions.StorageInternalError as error:
            raise RamgruError(BROKEN) from error
        yield found
    finally:
        storage.remove_session()
        storage.engine.dispose()


def work_off(given: Given) -> None:
    """Do the enqueued jobs until none is left; the result of each is kept with its trial."""
    import optuna

    def one(trial: optuna.Trial) -> float:
        name = trial.user_attrs.get("job")
        if name is None:  # the queue was empty, so this trial is a fresh one
            trial.study.stop()
            raise optuna.TrialPruned
        trial.set_user_attr("worker", given.name)
        try:
            result = do(given.jobs[name])
        except runs.Interrupted:
            trial.study.stop()
            raise
        except Exception as error:  # a job that fails must not end the others
            traceback.print_exc()
            trial.set_user_attr("error", f"{type(error).__name__}: {error}")
            raise
        trial.set_user_attr("result", files.sealed_json(json.loads(json.dumps(result))))
        return 0.0

    with connected(given.storage, given.study) as study:
        study.optimize(one, catch=(Exception,))


def main() -> None:
    given = Given(**json.loads(sys.stdin.readline()))
    threading.Thread(target=_until_the_parent_ends, daemon=True).start()
    with tuning.quiet_optuna():
        work_off(given)


def _until_the_parent_ends() -> None:
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGTERM)  # training saves its run at this signal
