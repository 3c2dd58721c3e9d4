"""Two processes, started by torchrun on the CPU: the gradients of one with the whole batch."""

from __future__ import annotations

from pathlib import Path

import gradients
import pytest
import torch
from safetensors.torch import load_file

from ramgru.lab.train import log

LAUNCH = ("torch.distributed.run", "--standalone", "--nproc-per-node", "2")
CASES = ("tokens/ddp", "chunks/ddp", "features/ddp", "memory/ddp", "features/fsdp", "memory/fsdp")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes found, all cases in one launch."""
    import os
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("gradients")
    done = subprocess.run(
        [sys.executable, "-m", *LAUNCH, gradients.__file__, str(folder), *CASES],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.parametrize("case", CASES)
def test_gradients_equal_one_process(found, case):
    """Though the processes have different numbers of answers, lengths and chunks."""
    kind, parallel = case.split("/")
    two = load_file(found / f"{kind}-{parallel}.safetensors")
    whole = gradients.padded([gradients.share(rank, kind) for rank in range(2)])
    one = gradients.gradients(kind, "ddp", whole)
    assert (int(one.pop("world")), int(two.pop("world"))) == (1, 2)
    assert two.keys() == one.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-7, msg=name)
    assert any(value.abs().max() > 1e-3 for name, value in one.items() if name != "totals")


def test_torchrun_trains_and_writes_once(tmp_path, command):
    """Two processes, one log, one line an epoch; the run goes on where it stopped, sharded now."""
    options = ("mqar", "--task.vocab-size", "16", "--task.pairs", "2", "--task.length", "8")
    options += ("--model.layer", "gru", "--model.d-model", "8", "--batch-size", "8")
    options += ("--steps-per-epoch", "4", "--evaluate-examples", "24", "--device", "cpu")
    start = (*LAUNCH, "-m", "ramgru")
    process = command("train", *options, "--steps", "4", "--out", "run", module=start)
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert out.startswith("epoch 1 · loss ")
    assert len(out.splitlines()) == 2
    more = ("--resume", "run", "--steps", "8", "--schedule", "constant", "--parallel", "fsdp")
    process = command("train", *more, module=start)
    out, error = process.communicate()
    assert process.returncode == 0, error
    events = log.read(tmp_path / "run" / "log.jsonl")
    assert [e["step"] for e in events if e["event"] == "evaluate"] == [4, 8]
    assert [e["event"] for e in events].count("end") == 1


def test_batch_must_be_divisible(found):
    """Both processes say so, and the run that could not begin is not there."""
    said = {(found / f"refusal-{rank}").read_text() for rank in range(2)}
    assert said == {"batch_size must be divisible by the number of processes, 2, got 3"}
    assert not (found / "never").exists()
