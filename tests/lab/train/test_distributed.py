"""Two processes, started by torchrun on the CPU, get the gradients of one with the whole batch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import gradients
import pytest
import torch
from safetensors.torch import load_file

from ramgru.lab.train import log

CASES = ("tokens/ddp", "chunks/ddp", "features/ddp", "memory/ddp", "features/fsdp", "memory/fsdp")


def torchrun(*args: str) -> str:
    """Standard output of two processes."""
    launch = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *launch, *args], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The results of two processes and their output, all cases in one launch."""
    folder = tmp_path_factory.mktemp("gradients")
    return folder, torchrun(gradients.__file__, str(folder), *CASES)


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_one_process(found, case):
    """The processes have different numbers of answers, lengths and chunks."""
    kind, parallel = case.split("/")
    two = load_file(found[0] / f"{kind}-{parallel}.safetensors")
    whole = gradients.padded([gradients.share(rank, kind) for rank in range(2)])
    one = gradients.gradients(kind, "ddp", whole)
    assert (int(one.pop("world")), int(two.pop("world"))) == (1, 2)
    assert two.keys() == one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert any(value.abs().max() > 1e-3 for name, value in one.items() if name != "totals")


def test_torchrun_trains_and_writes_once(found):
    """Two processes write one log and print one line per epoch; the run is resumed with FSDP."""
    folder, out = found
    first, epoch, done, *after = out.splitlines()
    assert ", 2 processes · " in first
    assert epoch.startswith("epoch 1 · loss ")
    assert done.startswith("all steps done after step 4;")
    assert after[:2] == ["", "next:"]
    assert out.count("next:") == 1
    run = str(folder / "run")
    more = ("--resume", run, "--steps", "8", "--schedule", "constant", "--parallel", "fsdp")
    torchrun("-m", "ramgru", "train", *more)
    events = log.read(folder / "run" / "log.jsonl")
    assert [e["step"] for e in events if e["event"] == "evaluate"] == [4, 8]
    assert [e["event"] for e in events].count("end") == 1


def test_batch_must_be_divisible(found):
    """Both processes raise the error, and the run that failed to start is removed."""
    folder, _ = found
    said = {(folder / f"refusal-{rank}").read_text() for rank in range(2)}
    assert said == {"batch_size must be divisible by the number of processes, 2, got 3"}
    assert not (folder / "never").exists()
