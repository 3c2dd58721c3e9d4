"""Files of a run: written atomically, read back, and refused if they are broken."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from ramgru.errors import CheckpointError, RamgruError
from ramgru.lab.cli import main
from ramgru.lab.train import checkpoint, log


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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "is missing: expected a checkpoint"),
        (b"", "is broken, no whole safetensors file"),
        (b"not a checkpoint at all", "is broken, no whole safetensors file"),
        ("torn", "is broken, no whole safetensors file"),
        ("pickle", "is broken, no whole safetensors file"),
        ("foreign", "is no checkpoint of a ramgru run"),
        ("header", "is no checkpoint of a ramgru run"),
    ],
    ids=["missing", "empty", "text", "torn", "pickle", "foreign", "header"],
)
def test_bad_checkpoint(tmp_path, content, message):
    path = tmp_path / "c"
    if content == "torn":
        checkpoint.save(path, {"a": torch.ones(100)}, {})
        content = path.read_bytes()[:-7]
    if content == "pickle":
        torch.save({"a": torch.ones(2)}, path)
    elif content == "foreign":
        save_file({"a": torch.ones(2)}, path)
    elif content == "header":
        save_file({"a": torch.ones(2)}, path, metadata={"ramgru": "{]"})
    elif content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        checkpoint.load(path)


def test_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "log.jsonl"
    path.write_text('{"event": "step", "step": 1}\n{"event": "step", "st')
    assert log.read(path) == [{"event": "step", "step": 1}]


def test_broken_line_within_is_an_error(tmp_path):
    path = tmp_path / "log.jsonl"
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
