"""Whole runs: their ends, their files, and how they are resumed."""

from __future__ import annotations

import json
import re
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
from ramgru.lab.train.parallel import pick_device
from ramgru.lab.train.run import WEIGHTS
from ramgru.model import RAMGRUModel

GRU = ModelConfig(layer="gru", d_model=8, num_layers=1, dropout=0.1)
RAM = ModelConfig(d_model=8, num_layers=1, memory=Memory(cells=64, reads=2))


class Own(torch.nn.LSTM):
    """A user's own layer, whose state is a tuple, and None before the first step."""

    def __init__(self, d_model: int) -> None:
        super().__init__(d_model, d_model, batch_first=True)


def weights(run: Path) -> bytes:
    return (run / WEIGHTS).read_bytes()


def events(run: Path, kind: str) -> list[dict]:
    return [e for e in log.read(run / "log.jsonl") if e["event"] == kind]


def text_task(folder: Path) -> tasks.Task:
    (folder / "t.txt").write_text("to be or not to be, that is the question. " * 20)
    return tasks.get("text", path=str(folder / "t.txt"), length=8)


@pytest.mark.parametrize("model", [GRU, RAM])
def test_equal_configurations_give_equal_bits(small, tmp_path, model):
    """Also without the background thread."""
    for name, changes in {"a": {}, "b": {}, "c": {"prefetch": False}, "d": {"seed": 1}}.items():
        train(small(model=model, out=tmp_path / name, **changes), quiet=True)
    first, second, alone, other = (weights(tmp_path / name) for name in "abcd")
    assert first == second == alone != other


def test_one_line_an_epoch(small, tmp_path, capsys):
    """As `epoch 3 · loss 0.0421 · recall 0.981`, and before them the device, folder and rate."""
    outcome = train(small())
    first, *lines = capsys.readouterr().out.splitlines()
    where, folder, model, steps, rate = first.split(" · ")
    assert where.split(",")[0] == str(pick_device("auto"))
    assert folder == str(outcome.run)
    assert re.fullmatch(r"gru, [\d,]+ parameters", model)
    assert (steps, rate) == ("12 steps of 8 sequences", "lr 0.003")
    seen = events(outcome.run, "evaluate")
    assert lines == [
        f"epoch {i} · loss {e['loss']:.4f} · recall {e['recall']:.3f}"
        for i, e in enumerate(seen, 1)
    ]
    assert [e["step"] for e in seen] == [4, 8, 12]
    assert (outcome.reason, outcome.step) == ("steps", 12)
    assert outcome.score == max(e["recall"] for e in seen)
    # with a short last epoch and further evaluations
    run = train(small(steps=6, evaluate_every=3, out=tmp_path / "short")).run
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split(" · ")[0] for line in lines] == ["epoch 1", "epoch 2"]
    assert [e["step"] for e in events(run, "evaluate")] == [3, 4, 6]


def test_epochs_instead_of_steps_and_their_log(small):
    outcome = train(small(epochs=2, steps=1000, log_every=4), quiet=True)
    assert outcome.step == 8
    steps = events(outcome.run, "step")
    assert [e["step"] for e in steps] == [4, 8]
    assert steps[-1]["lr"] < 3e-3 / 2  # the schedule ends with the epochs
    assert all(e["loss"] > 0 and 0 <= e["recall"] <= 1 and e["seconds"] > 0 for e in steps)
    assert events(outcome.run, "end")[0]["reason"] == "steps"


@pytest.mark.parametrize(
    ("changes", "end"),
    [
        ({"target": 0.0}, ("target", 4)),
        # with a learning rate of nearly zero, no evaluation is better than the first
        ({"lr": 1e-30, "weight_decay": 0.0, "patience": 2, "steps": 100}, ("patience", 12)),
    ],
    ids=["target", "patience"],
)
def test_rule_ends_the_run(small, changes, end):
    outcome = train(small(**changes), quiet=True)
    assert (outcome.reason, outcome.step) == end


def test_curriculum_goes_through_the_sizes(small):
    """Three stages and a target that a guess reaches."""
    task = tasks.get("mqar", vocab_size=32, pairs=8, length=32)
    run = train(small(task=task, curriculum=True, curriculum_target=0.0), quiet=True).run
    seen = events(run, "evaluate")
    assert [e.get("stage") for e in seen] == [0, 1, None]
    assert "stage recall" in seen[0]


@pytest.mark.parametrize("task", ["copy", "parity", "mqar_update", "programs"])
def test_every_kind_of_task_trains(small, task):
    config = small(task=tasks.get(task), model=RAM, steps=1, batch_size=2, evaluate_examples=2)
    assert train(config, quiet=True).step == 1


def test_streams_and_files_train(small, tmp_path):
    text = text_task(tmp_path)
    run = train(small(task=text, tbptt=4, out=tmp_path / "a"), quiet=True).run
    assert load_run(run)[1] == text
    tasks.write_examples(tmp_path / "x.npz", small().task, 32)
    run = train(small(data=tmp_path / "x.npz", out=tmp_path / "b"), quiet=True).run
    assert load_run(run)[1].name == "file"


@pytest.mark.parametrize("model", [GRU, RAM, replace(GRU, layer=f"{__name__}:Own")])
@pytest.mark.parametrize("kind", ["drawn", "stream", "crowd"])
def test_interrupted_run_goes_on_with_the_same_bits(small, tmp_path, interrupt_at, model, kind):
    """In the middle of an epoch, of the log's interval, of a stream, and of a shared memory."""
    changes = {"model": model, "log_every": 5}
    if kind == "stream":
        changes |= {"task": text_task(tmp_path), "tbptt": 4}
    if kind == "crowd":
        changes |= {"crowd": 5}
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
    memory = Memory(cells=64, heads="key key:2:skip=1 tape", learned_start=True)
    model = replace(RAM, layer="attention,heads=2,positions=rope", memory=memory)
    config = small(data=Path("a/b"), target=0.5, model=model)
    values = json.loads(json.dumps(to_dict(config)))
    assert from_dict(values) == config
    assert values["model"]["memory"]["heads"] == "key key:2:skip=1 tape"


def test_tensorboard_has_the_log(small):
    run = train(small(tensorboard=True), quiet=True).run
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    board = EventAccumulator(str(run / "tensorboard"))
    board.Reload()
    points = board.Scalars("evaluate/recall")
    expected = [(e["step"], e["recall"]) for e in events(run, "evaluate")]
    assert [p.step for p in points] == [step for step, _ in expected]
    assert np.allclose([p.value for p in points], [score for _, score in expected])
