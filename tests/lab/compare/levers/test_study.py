"""The engine: which runs are made, by whom, and what is done where one comes to nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import asdict, replace

import pytest

from ramgru.errors import RamgruError
from ramgru.lab.cli import main
from ramgru.lab.cli.study import configure
from ramgru.lab.compare import grid as grid_module
from ramgru.lab.compare import workers as workers_module
from ramgru.lab.compare.grid import opened
from ramgru.lab.compare.levers.results import from_json
from ramgru.lab.compare.levers.study import study
from ramgru.lab.compare.runs import finished
from ramgru.lab.compare.workers import Workers
from ramgru.lab.train.configfile import to_dict
from ramgru.lab.train.run import locked

ARGUMENTS = (
    *("mqar", "--task.vocab-size", "32", "--task.pairs", "2", "--task.length", "16"),
    *("--model.d-model", "8", "--model.num-layers", "1", "--model.ram.memory-size", "64"),
    *("--levers", "gates", "--seeds", "0", "--steps", "150", "--batch-size", "4"),
    *("--effort.questions", "16", "--effort.examples", "2", "--jobs", "2", "--device", "cpu"),
)
FOREVER = 1_000_000
FILES = ("log.jsonl", "evaluation.json", "cost.json", "model/model.safetensors")


def made(config):
    """{run: when each of its files was written} of the runs that are done."""
    return {
        path.parent.name: [(path.parent / name).stat().st_mtime_ns for name in FILES]
        for path in config.folder.glob("*/cost.json")
    }


def until(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.01)


def test_a_study_that_was_killed_goes_on(tmp_path, monkeypatch):
    """Killed with one run done and another under way; two jobs; then nothing is left to do."""
    monkeypatch.chdir(tmp_path)
    config = configure(ARGUMENTS)
    process = subprocess.Popen(
        [sys.executable, "-m", "ramgru", "study", *ARGUMENTS], stdout=subprocess.DEVNULL
    )

    def begun():
        return {path.parent.name for path in config.folder.glob("*/log.jsonl")}

    until(lambda: begun() - set(made(config)) and made(config))
    process.kill()
    assert process.wait() == -signal.SIGKILL
    before = made(config)
    assert 0 < len(before) < len(config.runs())
    assert not (config.folder / "study.json").exists()

    assert main(["study", *ARGUMENTS]) == 0
    after = made(config)
    assert set(after) == set(config.runs())
    assert {run: after[run] for run in before} == before
    assert all(finished(config.folder / run) for run in after)
    results = from_json((config.folder / "study.json").read_text(encoding="utf-8"))
    assert {run.run.steps for run in results.runs} == {config.steps}
    assert [run.point for run in results.runs] == [p.name for p in config.points()["gates"]]
    assert results.failed == {}
    assert all(run.cost.train_us > 0 for run in results.runs)
    assert results.machine["torch threads"] == "1 a run, 2 runs at a time"
    report = config.folder / "report.html"
    drawn = report.read_text(encoding="utf-8")
    assert drawn.count("<svg") == 1

    assert main(["study", *ARGUMENTS]) == 0
    assert made(config) == after
    report.unlink()
    assert main(["report"]) == 0
    assert report.read_text(encoding="utf-8") == drawn


def test_a_worker_that_is_killed_says_so_and_one_that_is_left_saves(small):
    config = replace(small, steps=FOREVER)
    (point, *_) = config.points()["gates"]
    config.folder.mkdir(parents=True)

    def job(seed):
        training = to_dict(config.training(point, seed))
        folder = str(config.folder / f"run{seed}")
        return {
            "work": "point",
            "training": training,
            "effort": asdict(config.effort),
            "folder": folder,
        }

    def steps(seed):
        log = config.folder / f"run{seed}" / "log.jsonl"
        return len(log.read_bytes().splitlines()) if log.exists() else 0

    with Workers(2, 1, config.folder) as workers:
        workers.give(7, job(0))
        workers.give(8, job(1))
        assert not workers.free
        until(lambda: steps(0) and steps(1))
        victim = next(worker for worker, number in workers._busy.items() if number == 7)
        victim.kill()
        number, said = workers.answer(60)
        assert number == 7
        assert said["died"].startswith("its process ended by signal 9; see ")
        assert workers.busy == [8]
    assert (config.folder / "run1" / "checkpoint.safetensors").exists()
    with locked(config.folder / "run1"):  # nobody writes it any more
        pass


class FakeWorkers:
    """Answers at once with what `say(job)` gives."""

    say = staticmethod(lambda job: {})

    def __init__(self, count, threads, folder):
        self.count, self.given = count, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    @property
    def free(self):
        return len(self.given) < self.count

    @property
    def busy(self):
        return [number for number, _ in self.given]

    def give(self, number, job):
        self.given.append((number, job))

    def answer(self, seconds):
        if not self.given:
            return None
        number, job = self.given.pop(0)
        return number, self.say(job)


@pytest.fixture
def fake(monkeypatch, results):
    """fake(say): studies are made by say(job), called once a run; -> the jobs it was asked for."""
    asked = []
    whole = json.loads(results.to_json())["runs"][0]

    def install(say=lambda job: None):
        def answer(job):
            asked.append(job)
            return say(job) or {"run": whole["run"], "cost": whole["cost"]}

        monkeypatch.setattr(FakeWorkers, "say", staticmethod(answer))
        monkeypatch.setattr(workers_module, "Workers", FakeWorkers)
        return asked

    return install


def biased(bias):
    """Whether a job is of the point with this start of the gate."""
    return lambda job: job["training"]["model"]["ram"]["gate_bias"] == bias


def test_every_run_is_asked_for_once(small, fake):
    asked = fake()
    config = replace(small, levers=("gates", "structure"), seeds=(1,))
    study(config, quiet=True)
    assert {os.path.basename(job["folder"]) for job in asked} == set(config.runs())
    assert len(asked) == len(config.runs())
    more = replace(small, seeds=(0, 1))
    study(more, quiet=True)
    assert len(asked) == len(config.runs()) + len(more.runs())  # another grid: others are asked


def test_a_run_that_fails_is_left_out_and_tried_again(small, fake):
    asked = fake(lambda job: {"error": "RamgruError: nan"} if biased(3.0)(job) else None)
    with pytest.raises(RamgruError, match=r"1 of \d runs failed, .* tries them again.*nan"):
        study(small, quiet=True)
    results = from_json((small.folder / "study.json").read_text(encoding="utf-8"))
    assert list(results.failed.values()) == ["RamgruError: nan"]
    assert "gate_bias 3" not in results.points
    count = len(asked)
    fake()
    study(small, quiet=True)
    assert len(asked) == count + 1
    results = from_json((small.folder / "study.json").read_text(encoding="utf-8"))
    assert results.failed == {}
    assert "gate_bias 3" in results.points


def test_a_study_of_which_all_fails_says_why(small, fake):
    fake(lambda job: {"error": "MemoryError: too much"})
    with pytest.raises(RamgruError, match=r"all \d runs failed; the first, mqar-ramgru-.*too much"):
        study(small, quiet=True)
    assert not (small.folder / "report.html").exists()


def test_a_run_whose_process_died_is_made_once_more(small, fake, capsys):
    deaths = []

    def die(job):
        if biased(3.0)(job) and not deaths:
            deaths.append(job)
            return {"died": "its process ended by signal 9"}
        return None

    asked = fake(die)
    study(small)
    assert len(asked) == len(small.runs()) + 1
    printed = capsys.readouterr().out
    assert "gate_bias 3 · seed 0: once more, since its process ended by signal 9" in printed
    assert "gate_bias 3 · seed 0: done" in printed
    assert printed.splitlines()[-1] == f"report: {small.folder / 'report.html'}"


def test_a_run_that_dies_each_time_fails(small, fake):
    fake(lambda job: {"died": "killed"} if biased(3.0)(job) else None)
    with pytest.raises(RamgruError, match=r"1 of .* failed"):
        study(small, quiet=True)


def test_a_folder_is_written_by_one_study_at_a_time(small, fake):
    fake()
    small.folder.mkdir(parents=True)
    with locked(small.folder), pytest.raises(RamgruError, match="written by another process"):
        study(small, quiet=True)


def test_a_folder_that_cannot_be_made_is_said(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RamgruError, match=r"cannot make the folder .*file"):
        study(replace(small, out=tmp_path / "file" / "study"), quiet=True)


def test_a_storage_that_cannot_be_opened_is_said_without_its_password(small):
    with pytest.raises(RamgruError, match=r"cannot open the storage nonsense:…") as error:
        study(replace(small, storage="nonsense://me:secret@host/db"), quiet=True)
    assert "secret" not in str(error.value)


WANTED = {"a": {"point": "default", "seed": 0}, "b": {"point": "default", "seed": 1}}


@pytest.fixture
def machine(tmp_path):
    """machine(name): another machine's hand on one queue."""

    def join(name):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        return opened(folder, "test", WANTED, f"sqlite:///{tmp_path / 'shared.db'}")

    return join


def test_two_machines_share_the_runs(machine):
    with machine("one") as one, machine("two") as two:
        one.fill()
        two.fill()
        (first, a), (second, b) = one.take(), two.take()
        assert {a, b} == {"a", "b"}
        assert one.take() is None
        one.done(first, 0.5, {"of": "one"})
        assert one.revive(own=False)  # the other one's run goes on
        two.done(second, 0.5, {"of": "two"})
        assert not one.revive(own=False)
        assert one.results() == two.results() == {a: {"of": "one"}, b: {"of": "two"}}
        one.fill()
        assert one.take() is None


def test_what_a_machine_had_before_it_was_killed_is_queued_again(machine):
    with machine("one") as one:
        one.fill()
        _, run = one.take()
    with machine("one") as again:
        assert again.revive(own=True)
        assert {again.take()[1], again.take()[1]} == {"a", "b"}
        assert again.take() is None
        assert run in WANTED


def test_a_machine_without_a_beat_is_taken_for_dead(machine, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(grid_module.time, "monotonic", lambda: clock[0])
    with machine("one") as one, machine("two") as two:
        one.fill()
        (number, lost), (other, _) = one.take(), one.take()
        for beaten in (True, True, False, False):
            assert two.revive(own=False)
            assert two.take() is None or not beaten
            clock[0] += 0.7 * grid_module.DEAD
            if beaten:
                one.beat([number, other])
        assert two.revive(own=False)
        assert two.take()[1] in WANTED
        one.done(number, 1.0, {"late": True})  # it was only slow: nobody waits for it any more
        assert "late" not in str(two.results())
        assert lost in WANTED


def test_errors_are_known_to_all_machines_until_the_run_is_made(machine):
    with machine("one") as one, machine("two") as two:
        one.fill()
        number, run = one.take()
        one.failed(number, "nan")
        assert two.errors() == {run: "nan"}
        two.fill()
        for _ in range(2):
            number, _ = two.take()
            two.done(number, 1.0, {})
        assert one.errors() == {}
