"""What a run refuses: other data, other models, broken files, options that do not fit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, TrainConfig, load_run, train
from ramgru.lab.train.run import locked


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed must stay what it was when a run goes on, 0, got 1"),
        ({"batch_size": 4}, "batch_size must stay .*, 8, got 4"),
        ({"optimizer": "adam"}, "optimizer must stay .*, adamw, got adam"),
        ({"tbptt": 2}, "tbptt must stay .*, 0, got 2"),
        ({"curriculum": True}, "curriculum must stay .*, False, got True"),
        ({"model": ModelConfig(layer="gru", d_model=16)}, r"model\.d_model must .*, 8, got 16"),
        (
            {"task": tasks.get("mqar", vocab_size=16, pairs=1, length=8)},
            r"task\.pairs must stay .*, 2, got 1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_made_the_checkpoint_must_stay(small, changes, message):
    """And the run is as it was: what it cannot go on with is not written into it."""
    run = train(small(), quiet=True).run
    before = (run / "config.json").read_bytes()
    with pytest.raises(ValueError, match=message):
        train(small(**changes, resume=run), quiet=True)
    assert (run / "config.json").read_bytes() == before
    load_run(run)


def test_changed_text_is_refused(small, tmp_path):
    path = tmp_path / "t.txt"
    path.write_text("to be or not to be " * 20)
    task = tasks.get("text", path=str(path), length=8)
    run = train(small(task=task), quiet=True).run
    path.write_text("to be or not to be?" * 20)
    with pytest.raises(ValueError, match="is not the file that the run began with"):
        train(small(task=tasks.get("text", path=str(path), length=8), resume=run), quiet=True)


def test_directory_in_use_is_refused(small):
    run = train(small(steps=1), quiet=True).run
    with pytest.raises(ValueError, match=f"out must be a new directory, got {run}"):
        train(small(), quiet=True)


def test_resume_of_no_run_is_refused(small, tmp_path):
    with pytest.raises(CheckpointError, match="is no run: expected a directory with config"):
        train(small(resume=tmp_path), quiet=True)


def test_two_processes_do_not_write_one_run(small, tmp_path):
    (tmp_path / "run").mkdir()
    with locked(tmp_path / "run"), pytest.raises(RamgruError, match="is being written by another"):
        train(small(), quiet=True)


def test_loss_that_is_not_finite_ends_the_run(small):
    """And is never saved."""
    with pytest.raises(RamgruError, match=r"the loss became nan .*: try a lower lr than 1e\+30"):
        train(small(lr=1e30, clip=0.0, warmup=0), quiet=True)
    assert not (small().out / "checkpoint.safetensors").exists()


@pytest.mark.parametrize("damage", ["torn", "state", "shape"])
def test_broken_checkpoint_is_refused(small, damage):
    run = train(small(), quiet=True).run
    path = run / "checkpoint.safetensors"
    if damage == "torn":
        path.write_bytes(path.read_bytes()[:-9])
    else:
        with safe_open(path, "pt") as file:
            header = file.metadata()
        tensors = load_file(path)
        if damage == "state":
            del tensors["process/0/random/torch"]
        else:
            tensors["model/embedding.weight"] = torch.zeros(2, 2)
        save_file(tensors, path, header)
    with pytest.raises(CheckpointError, match=r"is broken|differ in embedding\.weight"):
        train(small(resume=run, steps=16), quiet=True)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"task": {"name": "mqar"}}'])
def test_foreign_config_is_refused(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match="is no configuration of a ramgru run"):
        load_run(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"lr": 0.0}, "lr must be positive, got 0.0"),
        ({"betas": (0.9, 1.0)}, r"betas must be two numbers in \[0, 1\), got"),
        ({"clip": -1.0}, "clip must not be negative, got -1.0"),
        ({"device": "tpu"}, "device must be auto, cpu or cuda, got 'tpu'"),
        ({"data": Path("a"), "text": Path("b")}, "give data or text, not both, got a and b"),
        ({"parallel": "fsdp", "tbptt": 4}, "tbptt must be 0 with parallel='fsdp', got 4"),
        ({"task": "mqra"}, "unknown task 'mqra'; did you mean mqar"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_bad_options(options, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**options)


def test_device_that_is_not_there(small):
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(ValueError, match="device must be auto or cpu where torch finds no CUDA"):
        train(small(device="cuda"), quiet=True)
    with pytest.raises(ValueError, match="precision must be float32 or bfloat16 on a CPU"):
        train(small(precision="float16"), quiet=True)
