"""Whole runs: their ends, their files, and how they are resumed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ramgru.config import Memory
from ramgru.errors import RamgruError
from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, load_run, log, newest_run, train
from ramgru.lab.train.configfile import from_dict, read_config, to_dict
from ramgru.lab.train.run import WEIGHTS
from ramgru.model import RAMGRUModel

GRU = ModelConfig(layer="gru", d_model=8, num_layers=1, dropout=0.1)
RAM = ModelConfig(d_model=8, num_layers=1, memory=Memory(cells=64, reads=2))


def weights(run: Path) -> bytes:
    return (run / WEIGHTS).read_bytes()


def events(run: Path, kind: str) -> list[dict]:
    return [e for e in log.read(run / "log.jsonl") if e["event"] == kind]


@pytest.mark.parametrize("model", [GRU, RAM])
def test_equal_configurations_give_equal_bits(small, tmp_path, model):
    for name in "ab":
        train(small(model=model, out=tmp_path / name), quiet=True)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")
    train(small(model=model, out=tmp_path / "c", seed=1), quiet=True)
    assert weights(tmp_path / "c") != weights(tmp_path / "a")


def test_background_thread_changes_no_bit(small, tmp_path):
    for name, prefetch in (("a", True), ("b", False)):
        train(small(out=tmp_path / name, prefetch=prefetch), quiet=True)
    assert weights(tmp_path / "a") == weights(tmp_path / "b")


def test_one_line_an_epoch(small, capsys):
    """As `epoch 3 · loss 0.0421 · recall 0.981`, and nothing else."""
    outcome = train(small())
    lines = capsys.readouterr().out.splitlines()
    seen = events(outcome.run, "evaluate")
    assert lines == [
        f"epoch {i} · loss {e['loss']:.4f} · recall {e['recall']:.3f}"
        for i, e in enumerate(seen, 1)
    ]
    assert [e["step"] for e in seen] == [4, 8, 12]
    assert (outcome.reason, outcome.step) == ("steps", 12)
    assert outcome.score == max(e["recall"] for e in seen)


def test_last_epoch_may_be_short(small, capsys):
    train(small(steps=6, evaluate_every=3, steps_per_epoch=4))
    assert [line.split(" · ")[0] for line in capsys.readouterr().out.splitlines()] == [
        "epoch 1",
        "epoch 2",
    ]


def test_further_evaluations(small):
    run = train(small(evaluate_every=3), quiet=True).run
    assert [e["step"] for e in events(run, "evaluate")] == [3, 4, 6, 8, 9, 12]


def test_epochs_instead_of_steps(small):
    outcome = train(small(epochs=2, steps=1000), quiet=True)
    assert outcome.step == 8
    assert events(outcome.run, "step")[-1]["lr"] < 3e-3 / 2  # the schedule ends with them


def test_log_holds_what_was_trained(small):
    run = train(small(log_every=4), quiet=True).run
    steps = events(run, "step")
    assert [e["step"] for e in steps] == [4, 8, 12]
    assert all(e["loss"] > 0 and 0 <= e["recall"] <= 1 and e["seconds"] > 0 for e in steps)
    assert events(run, "end")[0]["reason"] == "steps"


def test_target_ends_the_run(small):
    outcome = train(small(target=0.0), quiet=True)
    assert (outcome.reason, outcome.step) == ("target", 4)


def test_patience_ends_the_run(small):
    """With a learning rate of nearly zero, no evaluation is better than the first."""
    config = small(lr=1e-30, weight_decay=0.0, patience=2, steps=100)
    outcome = train(config, quiet=True)
    assert (outcome.reason, outcome.step) == ("patience", 12)


def test_curriculum_goes_through_the_sizes(small):
    """Three stages and a target that a guess reaches."""
    task = tasks.get("mqar", vocab_size=32, pairs=8, length=32)
    run = train(small(task=task, curriculum=True, curriculum_target=0.0), quiet=True).run
    seen = events(run, "evaluate")
    assert [e.get("stage") for e in seen] == [0, 1, None]
    assert "stage recall" in seen[0]


@pytest.mark.parametrize("task", ["copy", "parity", "mqar_update", "programs"])
def test_every_task_trains(small, task):
    config = small(task=tasks.get(task), model=RAM, steps=1, batch_size=2, evaluate_examples=2)
    assert train(config, quiet=True).step == 1


def test_streams_and_files_train(small, tmp_path):
    (tmp_path / "t.txt").write_text("to be or not to be, that is the question. " * 20)
    text = tasks.get("text", path=str(tmp_path / "t.txt"), length=8)
    run = train(small(task=text, tbptt=4, out=tmp_path / "a"), quiet=True).run
    assert load_run(run)[1] == text
    tasks.write_examples(tmp_path / "x.npz", small().task, 32)
    config = small(data=tmp_path / "x.npz", out=tmp_path / "b")
    run = train(config, quiet=True).run
    assert load_run(run)[1].name == "file"


class Own(torch.nn.LSTM):
    """A layer of a user's own, whose state is a tuple and None before the first step."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model, batch_first=True)


@pytest.mark.parametrize("model", [GRU, RAM, replace(GRU, layer=f"{__name__}:Own")])
@pytest.mark.parametrize("kind", ["drawn", "stream"])
def test_interrupted_run_goes_on_with_the_same_bits(small, tmp_path, interrupt_at, model, kind):
    """In the middle of an epoch, of the log's interval, and of a stream."""
    changes = {"model": model, "log_every": 5}
    if kind == "stream":
        (tmp_path / "t.txt").write_text("to be or not to be, that is the question. " * 20)
        changes["task"] = tasks.get("text", path=str(tmp_path / "t.txt"), length=8)
        changes["tbptt"] = 4
    whole = train(small(**changes, out=tmp_path / "whole"), quiet=True)
    interrupt_at(7)
    stopped = train(small(**changes), quiet=True)
    assert (stopped.reason, stopped.step, stopped.signal) == ("interrupted", 7, 2)
    assert not (stopped.run / "model").exists()
    again = train(small(**changes, resume=stopped.run), quiet=True)
    assert weights(again.run) == weights(whole.run)
    untimed = [
        [{k: v for k, v in e.items() if k != "seconds"} for e in log.read(run / "log.jsonl")]
        for run in (again.run, whole.run)
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("changes", [{}, {"target": 0.0}], ids=["steps", "target"])
def test_finished_run_that_is_resumed_stays_as_it_is(small, changes):
    """As after a kill between the last checkpoint and the model."""
    first = train(small(**changes), quiet=True)
    before = weights(first.run)
    (first.run / WEIGHTS).unlink()
    again = train(small(**changes, resume=first.run), quiet=True)
    assert (again.reason, again.step) == (first.reason, first.step)
    assert weights(first.run) == before
    assert len(events(first.run, "end")) == 1


def test_more_steps_may_be_asked_for(small):
    first = train(small(schedule="constant"), quiet=True)
    (first.run / "evaluation.json").write_text("{}")
    again = train(small(schedule="constant", steps=16, resume=first.run), quiet=True)
    assert again.step == 16
    assert not (first.run / "evaluation.json").exists()  # it is out of date
    assert read_config(first.run / "config.json").steps == 16


def test_run_is_read_back(small):
    config = small(model=RAM)
    run = train(config, quiet=True).run
    read, task, model = load_run(run)
    assert (read.model, task, read.out) == (config.model, config.task, run)
    assert not model.training
    src = torch.from_numpy(task.draw(2, 0).inputs)
    theirs = RAMGRUModel.from_pretrained(run / "model").eval()
    assert torch.equal(model(src), theirs(src))
    (run / WEIGHTS).unlink()  # as in an unfinished run: the checkpoint's weights are loaded
    assert torch.equal(load_run(run)[2](src), theirs(src))


def test_newest_run(small, tmp_path):
    with pytest.raises(RamgruError, match=r"no run in .*: expected one made by `ramgru train`"):
        newest_run(tmp_path)
    for name in "ba":
        train(small(steps=1, out=tmp_path / "runs" / name), quiet=True)
    assert newest_run(tmp_path / "runs").name == "a"


def test_config_comes_back_from_json(small):
    model = replace(RAM, layer="attention,heads=2,positions=rope")
    config = small(data=Path("a/b"), target=0.5, model=model)
    assert from_dict(json.loads(json.dumps(to_dict(config)))) == config


def test_tensorboard_has_the_log(small):
    run = train(small(tensorboard=True), quiet=True).run
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    points = board.Scalars("evaluate/recall")
    expected = [(e["step"], e["recall"]) for e in events(run, "evaluate")]
    assert [p.step for p in points] == [step for step, _ in expected]
    assert np.allclose([p.value for p in points], [score for _, score in expected])
