"""The points and seeds of a study as trials of Optuna: a queue that several machines can share.

Each machine has one process that takes trials and says what became of them, and a study of Optuna
holds one grid: its name is a digest of all that the runs depend on, so that other options make
another queue in the same storage.

A trial whose machine died is queued again. A machine knows its own trials by the name that it keeps
in its folder, which it holds alone; those of others it takes for dead when their beat, which a
living machine changes all the time, has stood still for long.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import secrets
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState

from ramgru import files
from ramgru.errors import RamgruError

BEAT = 10.0  # seconds from one beat to the next
DEAD = 12 * BEAT  # without a beat for so long, a machine is not coming back
DATABASE, NAME = "study.db", "machine"
OPEN = (TrialState.WAITING, TrialState.RUNNING)
# What another machine took for dead and queued again is no longer ours to tell about.
GIVEN_UP = optuna.exceptions.UpdateFinishedTrialError


@dataclass
class Grid:
    """One machine's hand on the queue.

    study: of Optuna. machine: the name of this one. wanted: {run: {"point": …, "seed": …}}.
    taken: this machine's trials by number.
    beats: {trial number: (its last beat, when it was first seen here)} of other machines' trials.
    """

    study: optuna.Study
    machine: str
    wanted: Mapping[str, Mapping[str, Any]]
    taken: dict[int, optuna.Trial] = field(default_factory=dict)
    beats: dict[int, tuple[Any, float]] = field(default_factory=dict)

    def fill(self) -> None:
        """Queue what is wanted and neither done, nor queued, nor being made.

        Two machines that begin in the same moment may queue a run twice: it is then made twice.
        """
        known = {t.user_attrs.get("run") for t in self._trials(*OPEN, TrialState.COMPLETE)}
        for run, values in self.wanted.items():
            if run not in known:
                self._queue(run, values)

    def take(self) -> tuple[int, str] | None:
        """The number and the run of a trial that is now this machine's; None where none waits."""
        if not self._trials(TrialState.WAITING):
            return None
        trial = self.study.ask(self._distributions())
        run = trial.user_attrs.get("run")
        if run is None:  # another machine took the last one in between: this trial is not queued
            self.study.tell(trial, state=TrialState.FAIL)
            return None
        trial.set_user_attr("machine", self.machine)
        self.taken[trial.number] = trial
        return trial.number, run

    def done(self, number: int, value: float, result: Mapping[str, Any]) -> None:
        """A trial is finished. value: what Optuna shows. result: JSON values to be kept with it."""
        with contextlib.suppress(GIVEN_UP):
            self.taken[number].set_user_attr("result", result)
            self.study.tell(number, value, skip_if_finished=True)

    def failed(self, number: int, error: str, *, again: bool = False) -> None:
        """A trial came to nothing. again: queue its run at once; else the next `fill` does."""
        with contextlib.suppress(GIVEN_UP):
            self.taken[number].set_user_attr("error", error)
            self._end(number, again=again)

    def beat(self, numbers: list[int]) -> None:
        """Tell the other machines that these trials are alive."""
        for number in numbers:
            with contextlib.suppress(GIVEN_UP):
                self.taken[number].set_user_attr("beat", time.time())

    def revive(self, *, own: bool) -> bool:
        """Queue the runs of dead machines again; -> whether any run is left: being made, or queued.

        own: whether what this machine had is dead too: it has only just begun.
        """
        left = bool(self._trials(TrialState.WAITING))
        for trial in self._trials(TrialState.RUNNING):
            mine = trial.user_attrs.get("machine") == self.machine
            if (mine and own) or (not mine and self._is_dead(trial)):
                self._end(trial.number, again=True)
            left = True
        return left

    def results(self) -> dict[str, dict[str, Any]]:
        """{run: its result} of all that is finished, wherever it was made."""
        found: dict[str, dict[str, Any]] = {}
        for trial in self._trials(TrialState.COMPLETE):
            if trial.user_attrs.get("run") in self.wanted:
                found.setdefault(trial.user_attrs["run"], trial.user_attrs["result"])
        return found

    def errors(self) -> dict[str, str]:
        """{run: why} of all that came to nothing, wherever that was, and was not made since."""
        done = self.results()
        return {
            str(trial.user_attrs["run"]): str(trial.user_attrs["error"])
            for trial in self._trials(TrialState.FAIL)
            if "error" in trial.user_attrs and trial.user_attrs.get("run") not in done
        }

    def _is_dead(self, trial: FrozenTrial) -> bool:
        # By this machine's own clock, since those of two machines differ.
        beat, now = trial.user_attrs.get("beat"), time.monotonic()
        seen, since = self.beats.get(trial.number, (None, 0.0))
        if trial.number not in self.beats or beat != seen:
            self.beats[trial.number] = (beat, now)
            return False
        return now - since > DEAD

    def _end(self, number: int, *, again: bool) -> None:
        """A trial fails; its run is queued again, unless another machine has done all that."""
        (trial,) = (trial for trial in self._trials() if trial.number == number)
        try:
            self.study.tell(number, state=TrialState.FAIL)
        except (ValueError, GIVEN_UP):
            return
        run = str(trial.user_attrs.get("run"))
        if again and run in self.wanted:
            self._queue(run, self.wanted[run])

    def _queue(self, run: str, values: Mapping[str, Any]) -> None:
        self.study.enqueue_trial(dict(values), user_attrs={"run": run})

    def _distributions(self) -> dict[str, optuna.distributions.BaseDistribution]:
        names = sorted({str(values["point"]) for values in self.wanted.values()})
        seeds = sorted({int(values["seed"]) for values in self.wanted.values()})
        categorical = optuna.distributions.CategoricalDistribution
        return {"point": categorical(names), "seed": categorical(seeds)}

    def _trials(self, *states: TrialState) -> list[FrozenTrial]:
        return self.study.get_trials(deepcopy=False, states=states or None)


@contextlib.contextmanager
def opened(
    folder: Path, name: str, wanted: Mapping[str, Mapping[str, Any]], storage: str | None
) -> Iterator[Grid]:
    """The queue of this grid in a storage, by default a file in `folder`; made where it is new.

    Raises RamgruError where the storage cannot be opened.
    """
    url = storage or f"sqlite:///{(folder / DATABASE).resolve()}"
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    digest = hashlib.sha256(json.dumps(sorted(wanted.items())).encode()).hexdigest()[:8]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            database = _connect(url)
            study = optuna.create_study(
                storage=database,
                study_name=f"{name}-{digest}",
                sampler=optuna.samplers.RandomSampler(seed=0),
                direction="maximize",
                load_if_exists=True,
            )
            try:
                yield Grid(study, _machine(folder), wanted)
            finally:
                database.engine.dispose()
    finally:
        optuna.logging.set_verbosity(verbosity)


def _connect(url: str) -> optuna.storages.RDBStorage:
    try:
        return optuna.storages.RDBStorage(url)
    except Exception as error:  # of SQLAlchemy, or of whatever driver the URL asks for
        kind = url.partition(":")[0]  # the rest may hold a password
        raise RamgruError(
            f"cannot open the storage {kind}:…: {str(error).splitlines()[0]}"
        ) from error


def _machine(folder: Path) -> str:
    """The name that this machine goes by, kept in its folder."""
    path = folder / NAME
    if not path.exists():
        files.write(path, secrets.token_hex(8))
    return path.read_text(encoding="utf-8")
