"""A run that dies at any moment and is resumed ends with the same bits as one that never died."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ramgru.lab.cli import main
from ramgru.lab.train import log
from ramgru.lab.train.run import WEIGHTS

OPTIONS = (
    *("mqar", "--task.vocab-size", "32", "--task.pairs", "4", "--task.length", "32"),
    *("--model.layer", "gru", "--model.d-model", "16", "--model.dropout", "0.1"),
    *("--batch-size", "16", "--steps", "120", "--steps-per-epoch", "25", "--warmup", "5"),
    *("--evaluate-examples", "32", "--save-every", "7", "--log-every", "3"),
    *("--curriculum-target", "0.2", "--threads", "1"),
)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that was never interrupted."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    assert main(["train", *OPTIONS, "--out", str(folder)]) == 0
    return folder


def assert_equal_runs(run: Path, reference: Path) -> None:
    """Equal weights and equal logs, except for times; no temporary file is left."""
    assert (run / WEIGHTS).read_bytes() == (reference / WEIGHTS).read_bytes()
    logs = [
        [{k: v for k, v in event.items() if k != "seconds"} for event in log.read(f / "log.jsonl")]
        for f in (run, reference)
    ]
    assert logs[0] == logs[1]
    assert not list(run.rglob(".*"))


def test_killed_at_random_moments(tmp_path, reference):
    """Killed while it starts and twice on the way; no line is logged twice."""
    run, moments = tmp_path / "run", random.Random(3)
    log_file = run / "log.jsonl"
    for lines in (0, moments.randrange(3, 20), moments.randrange(22, 40)):
        process = subprocess.Popen(
            [sys.executable, "-m", "ramgru", "train", *OPTIONS, "--out", "run", "--resume"],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.DEVNULL,
        )
        while process.poll() is None and lines > (
            len(log_file.read_bytes().splitlines()) if log_file.exists() else 0
        ):
            time.sleep(0.002)
        time.sleep(moments.random() * 0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert main(["train", *OPTIONS, "--resume", str(run)]) == 0
    assert_equal_runs(run, reference)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_run_says_how_to_go_on(
    tmp_path, reference, monkeypatch, interrupt_at, capsys, number, code
):
    """The signal finishes the step and saves; the command that the run prints is then run."""
    monkeypatch.chdir(tmp_path)
    interrupt_at(31, number)
    assert main(["train", *OPTIONS, "--out", "run"]) == code
    out, error = capsys.readouterr()
    assert error == ""
    stopped = next(line for line in out.splitlines() if line.startswith("stopped after step 31 "))
    assert stopped.endswith("and saved in run")
    words = out.partition("next:\n")[2].split()
    assert words == ["ramgru", "train", "--resume", "run"]
    assert not Path("run", "model").exists()
    assert main(words[1:]) == 0
    assert_equal_runs(Path("run"), reference)
