"""The files and options of a run: written atomically, read back, and refused if they are bad."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from safetensors.torch import save as serialise

from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.train import ModelConfig, TrainConfig, checkpoint, load_run, log, train
from ramgru.lab.train.run import locked


def test_checkpoint_comes_back_bit_for_bit(tmp_path):
    tensors = {"a": torch.randn(3, 4), "b": torch.arange(5), "c": torch.tensor(2.5).double()}
    facts = {"step": 7, "best": 0.1 + 0.2, "nested": {"none": None}}
    checkpoint.save(tmp_path / "c", tensors, facts)
    found, told = checkpoint.load(tmp_path / "c")
    assert told == facts
    assert found.keys() == tensors.keys()
    assert all(torch.equal(found[name], tensors[name]) for name in tensors)
    assert all(found[name].dtype == tensors[name].dtype for name in tensors)


def test_equal_checkpoints_are_equal_files(tmp_path):
    tensors = {name: torch.ones(2) for name in "hgfedcba"}
    for name in ("one", "two"):
        checkpoint.save(tmp_path / name, tensors, {"x": 1, "y": 2})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


ONES = {"a": torch.ones(100)}
BROKEN = "is broken, no whole safetensors file"
FOREIGN = "is no checkpoint of a ramgru run"


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: None, "is missing: expected a checkpoint"),
        (lambda path: path.write_bytes(b""), BROKEN),
        (lambda path: path.write_bytes(b"not a checkpoint at all"), BROKEN),
        (lambda path: path.write_bytes(serialise(ONES)[:-7]), BROKEN),
        (lambda path: torch.save(ONES, path), BROKEN),
        (lambda path: save_file(ONES, path), FOREIGN),
        (lambda path: save_file(ONES, path, metadata={"ramgru": "{]"}), FOREIGN),
    ],
    ids=["missing", "empty", "text", "torn", "pickle", "foreign", "header"],
)
def test_bad_checkpoint(tmp_path, write, message):
    write(tmp_path / "c")
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(tmp_path / "c")


def test_bad_lines_of_a_log(tmp_path):
    """A torn last line is left out, any other bad line is an error."""
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "st')
    assert log.read(path) == [{"event": "step", "step": 1}]
    path.write_text('{"event": "step", "step": 1}\nwhat\n{"event": "step", "step": 2}\n')
    with pytest.raises(RamgruError, match="line 2: expected a JSON object a line"):
        log.read(path)


def test_log_is_cut_back_to_the_step(tmp_path):
    steps = [{"event": "step", "step": s, "loss": 0.1} for s in range(1, 6)]
    lines = [json.dumps(e) for e in [*steps, {"event": "end", "step": 3}]]
    (tmp_path / "log.jsonl").write_text("\n".join([*lines, '{"event": "st']))
    new = log.RunLog(tmp_path, step=3, tensorboard=False)
    new.write("step", step=4, loss=float("nan"))
    new.close()
    assert log.read(new.path) == [*steps[:3], {"event": "step", "step": 4, "loss": None}]


def test_full_disk_ends_a_run_with_one_sentence(tmp_path, monkeypatch, capsys):
    """The file-size limit of the process stands in for the disk; the second save exceeds it."""
    resource = pytest.importorskip("resource")
    limits, save = resource.getrlimit(resource.RLIMIT_FSIZE), checkpoint.save

    def save_then_limit(*args):
        save(*args)
        resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))

    monkeypatch.setattr(checkpoint, "save", save_then_limit)
    monkeypatch.chdir(tmp_path)
    args = ["train", "mqar", "--task.vocab-size", "32", "--task.pairs", "2", "--task.length", "8"]
    args += ["--model.layer", "gru", "--steps", "8", "--steps-per-epoch", "4", "--out", "run"]
    args += ["--snapshots", "0"]
    try:
        code = main(args)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert code == 1
    name, reason = Path("run", "checkpoint.safetensors"), os.strerror(errno.EFBIG)
    assert capsys.readouterr().err == (
        f"ramgru train: cannot write {name}: {reason}; the former file is untouched\n"
    )
    _, facts = checkpoint.load(name)
    assert facts["step"] == 4
    assert not list(Path("run").glob(".*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 1}, "seed must stay 0 when a run is resumed, got 1"),
        ({"batch_size": 4}, "batch_size must stay 8 .*, got 4"),
        ({"optimizer": "adam"}, "optimizer must stay adamw .*, got adam"),
        ({"tbptt": 2}, "tbptt must stay 0 .*, got 2"),
        ({"crowd": 2}, "crowd must stay 0 .*, got 2"),
        ({"curriculum": True}, "curriculum must stay False .*, got True"),
        ({"model": ModelConfig(layer="gru", d_model=16)}, r"model\.d_model must stay 8 .*, got 16"),
        (
            {"task": tasks.get("mqar", vocab_size=16, pairs=1, length=8)},
            r"task\.pairs must stay 2 .*, got 1",
        ),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_made_the_checkpoint_must_stay(small, changes, message):
    """A refused option is not written into the run."""
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


def test_bad_directories_are_refused(small, tmp_path):
    run = train(small(steps=1), quiet=True).run
    with pytest.raises(ValueError, match=f"out must be a new directory, got {run}"):
        train(small(), quiet=True)
    with pytest.raises(CheckpointError, match="is no run: expected a directory with config"):
        train(small(resume=tmp_path), quiet=True)
    with locked(run), pytest.raises(RamgruError, match="is being written by another process"):
        train(small(resume=run), quiet=True)


def test_loss_that_is_not_finite_ends_the_run(small):
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
        ({"parallel": "fsdp", "crowd": 4}, "crowd must be 0 with parallel='fsdp', got 4"),
        ({"tbptt": 8, "crowd": 4}, "crowd must be 0 with tbptt=8, got 4"),
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
