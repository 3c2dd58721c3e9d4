"""Jobs: which are done, by whom, and what happens if a process dies or is interrupted."""

from __future__ import annotations

import io
import signal
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from optuna.trial import TrialState
from rich.console import Console

from ramgru.errors import RamgruError
from ramgru.lab.cli import main
from ramgru.lab.cli.compare import configure
from ramgru.lab.compare import jobs as module
from ramgru.lab.compare import worker
from ramgru.lab.compare.jobs import Crew, Job, _Queue
from ramgru.lab.compare.results import from_json
from ramgru.lab.compare.runs import finished
from ramgru.lab.train import TrainConfig
from ramgru.lab.train.run import InUse, locked

JOBS = {name: Job(f"job {name}", {"number": n}) for n, name in enumerate("abc")}


@pytest.fixture
def machine(tmp_path):
    """machine(): another machine's queue over one storage."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    with ExitStack() as open_storages:

        def join() -> _Queue:
            study = open_storages.enter_context(worker.connected(url, "test"))
            crew = Crew(tmp_path, 2, 1, url)
            return _Queue(crew, study, url, JOBS, Console(file=io.StringIO(), width=200))

        yield join


def do(queue: _Queue, monkeypatch, work, name: str = "worker") -> None:
    """Let a worker, in this process, do all that is enqueued."""
    monkeypatch.setattr(worker, "do", work)
    worker.work_off(worker.Given(name, queue.url, "test", queue._work()))


def test_each_job_is_done_once_by_either_machine(machine, monkeypatch):
    one, two = machine(), machine()
    assert one.look(0) == (3, 3)
    assert two.look(0) == (3, 3)
    done = []
    do(two, monkeypatch, lambda job: done.append(job["number"]) or {"of": job["number"]})
    assert sorted(done) == [0, 1, 2]
    for queue in (one, two):
        assert queue.look(0) == (0, 0)
        assert queue.results == {name: {"of": n} for n, name in enumerate("abc")}


def test_a_job_that_fails_is_told_and_tried_again_by_the_next_command(machine, monkeypatch):
    queue = machine()
    queue.look(0)

    def fail(job):
        if job["number"] == 1:
            raise RamgruError("nan")
        return {}

    do(queue, monkeypatch, fail)
    assert queue.look(0) == (0, 0)
    assert queue.errors == {"b": "RamgruError: nan"}
    again = machine()
    assert again.look(len(again.study.trials)) == (1, 1)
    do(again, monkeypatch, lambda job: {"now": True})
    assert again.look(0) == (0, 0)
    assert (again.errors, again.results["b"]) == ({}, {"now": True})


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_a_job_whose_process_died_is_done_once_more_and_then_fails(machine):
    queue = machine()
    for count in range(module.DEATHS):
        assert queue.look(0)[1] == 3
        while queue.study.get_trials(states=(TrialState.WAITING,)):
            queue.study.ask().set_user_attr("worker", f"dead {count}")
        module._fail(queue.study, "another")
        assert queue.look(0) == (0, 3)  # all of them run
        module._fail(queue.study, f"dead {count}")
    assert queue.look(0) == (0, 0)
    assert queue.errors.keys() == JOBS.keys()
    assert "2 processes ended without a result" in queue.errors["a"]
    assert queue.console.file.getvalue().count("once more") == 3


@pytest.mark.filterwarnings("ignore:Heartbeat")
def test_a_job_of_a_machine_without_heartbeat_is_enqueued_again(machine, monkeypatch):
    monkeypatch.setattr(worker, "BEAT", 1)
    monkeypatch.setattr(worker, "GRACE", 1)
    queue = machine()
    queue.look(0)
    lost = queue.study.ask()
    queue.study._storage.record_heartbeat(lost._trial_id)
    time.sleep(2.1)
    done = []
    do(queue, monkeypatch, lambda job: done.append(job["number"]) or {})
    assert queue.look(0)[1] == 1
    assert len(done) == 2


def test_jobs_that_fail_in_a_worker_process_are_told(tmp_path):
    crew = Crew(tmp_path, 1, 1, f"sqlite:///{tmp_path / 'shared.db'}")
    console = Console(file=io.StringIO(), width=200)
    results, errors = crew.work_off(JOBS, console)
    assert results == {}
    assert errors == dict.fromkeys(JOBS, "KeyError: 'folder'")
    assert "0 of 3 done · job b: failed: KeyError: 'folder'" in console.file.getvalue()


def test_workers_that_cannot_begin_end_the_comparison(tmp_path, monkeypatch):
    monkeypatch.setattr(module.sys, "executable", "/bin/false")
    with pytest.raises(RamgruError, match=r"end before they begin a job; see .*workers\.log"):
        Crew(tmp_path, 2, 1).work_off(JOBS, Console(file=io.StringIO()))


def test_a_storage_that_cannot_be_opened_is_said_without_its_password(tmp_path):
    crew = Crew(tmp_path, 1, 1, "nonsense://me:secret@host/db")
    with pytest.raises(RamgruError, match=r"cannot open the storage nonsense:…") as error:
        crew.work_off(JOBS, Console(file=io.StringIO()))
    assert "secret" not in str(error.value)


SIZES = (
    *("mqar", "--task.vocab-size", "32", "--task.pairs", "2", "--task.length", "16"),
    *("--model.d-model", "8", "--model.num-layers", "1", "--equal", "nothing", "--device", "cpu"),
    *("--effort.questions", "16", "--effort.examples", "2", "--effort.max-length", "64"),
    *("--batch-size", "32"),
)
SHORT = (*SIZES, "--layers", "gru", "mingru", "lstm", "--steps", "60")
FILES = ("log.jsonl", "evaluation.json", "costs.json", "model/model.safetensors")


def begin(*arguments: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "ramgru", "compare", *arguments],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        # a shell may have started the tests as a background job, which ignores SIGINT
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def made(folder):
    """{run: when each of its files was written} of the finished runs."""
    return {
        path.parent.name: [(path.parent / name).stat().st_mtime_ns for name in FILES]
        for path in folder.glob("*/costs.json")
    }


def until(condition, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_a_comparison_that_was_killed_goes_on(tmp_path, monkeypatch):
    """Killed with one run done and another in training, by two processes."""
    monkeypatch.chdir(tmp_path)
    folder = configure(SHORT).folder
    process = begin(*SHORT, "--jobs", "2")

    def begun():
        return {path.parent.name for path in folder.glob("*/log.jsonl")}

    until(lambda: begun() - set(made(folder)) and made(folder))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = made(folder)
    assert 0 < len(before) < 3
    assert not (folder / "compare.json").exists()

    assert main(["compare", *SHORT, "--jobs", "2"]) == 0
    after = made(folder)
    assert len(after) == 3
    assert {run: after[run] for run in before} == before
    assert all(finished(folder / run) for run in after)
    (results,) = from_json((folder / "compare.json").read_text(encoding="utf-8")).tasks
    assert [(run.layer, run.steps) for run in results.runs] == [
        ("gru", 60),
        ("mingru", 60),
        ("lstm", 60),
    ]
    drawn = (folder / "report.html").read_text(encoding="utf-8")

    assert main(["compare", *SHORT, "--jobs", "2"]) == 0
    assert made(folder) == after
    (folder / "report.html").unlink()
    assert main(["report"]) == 0
    assert (folder / "report.html").read_text(encoding="utf-8") == drawn


def test_a_run_that_another_process_begins_just_now_is_waited_for(tmp_path, monkeypatch):
    """Its lock is free at first, and taken when training wants it."""
    tried = []

    def trained(config, folder, *, quiet):
        tried.append(folder)
        if len(tried) < 3:
            raise InUse("in use")

    monkeypatch.setattr(worker.runs, "trained", trained)
    worker._trained(TrainConfig(), tmp_path / "run", quiet=True)
    assert tried == 3 * [tmp_path / "run"]
    tried.clear()
    monkeypatch.setattr(worker, "PATIENCE", -1.0)
    with pytest.raises(InUse):
        worker._trained(TrainConfig(), tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("jobs", "number"), [("1", signal.SIGINT), ("2", signal.SIGTERM)], ids=["here", "worker"]
)
def test_an_interrupted_comparison_saves_its_run(tmp_path, monkeypatch, jobs, number):
    monkeypatch.chdir(tmp_path)
    arguments = (*SIZES, "--layers", "gru", "--steps", "1000000", "--jobs", jobs)
    folder = configure(arguments).folder
    process = begin(*arguments)
    until(lambda: any(path.stat().st_size for path in folder.glob("*/log.jsonl")))
    process.send_signal(number)
    assert process.wait(300) == 128 + number
    (run,) = (path.parent for path in folder.glob("*/config.json"))
    assert (run / "checkpoint.safetensors").exists()
    for path in (run, folder):
        with locked(path):  # no process writes it any more
            pass
