"""A run that dies at any moment and is resumed ends with the same bits as one that never died."""

from __future__ import annotations

import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

from ramgru.lab.train import log
from ramgru.lab.train.run import WEIGHTS

OPTIONS = (
    *("mqar", "--task.vocab-size", "32", "--task.pairs", "4", "--task.length", "32"),
    *("--model.layer", "gru", "--model.d-model", "16", "--model.dropout", "0.1"),
    *("--batch-size", "16", "--steps", "240", "--steps-per-epoch", "50", "--warmup", "5"),
    *("--evaluate-examples", "32", "--save-every", "7", "--log-every", "3"),
    *("--curriculum-target", "0.2", "--threads", "1"),
)


def steps_logged(path: Path) -> int:
    return len(path.read_bytes().splitlines()) if path.exists() else 0


def wait_for(path: Path, lines: int, process: subprocess.Popen[str]) -> None:
    """Until the log has so many lines, or the run is over."""
    while steps_logged(path) < lines and process.poll() is None:
        time.sleep(0.002)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run that nothing happened to."""
    import contextlib
    import io

    from ramgru.lab.cli import main

    folder = tmp_path_factory.mktemp("whole") / "run"
    with contextlib.redirect_stdout(io.StringIO()):
        assert main(["train", *OPTIONS, "--out", str(folder)]) == 0
    return folder


def values(folder: Path) -> list[dict[str, object]]:
    """The log without its times."""
    events = log.read(folder / "log.jsonl")
    return [{k: v for k, v in event.items() if k != "seconds"} for event in events]


def test_killed_at_random_moments(tmp_path, command, reference):
    """Killed while starting, then twice somewhere on the way; the log has no line twice."""
    run, moments = tmp_path / "run", random.Random(3)
    for lines in (0, moments.randrange(5, 40), moments.randrange(45, 80)):
        process = command("train", *OPTIONS, "--out", "run", "--resume")
        wait_for(run / "log.jsonl", lines, process)
        time.sleep(moments.random() * 0.02)
        process.kill()
        assert process.wait() == -signal.SIGKILL
    process = command("train", *OPTIONS, "--out", "run", "--resume")
    out, error = process.communicate()
    assert process.returncode == 0, error
    assert (run / WEIGHTS).read_bytes() == (reference / WEIGHTS).read_bytes()
    assert values(run) == values(reference)
    assert not list(run.rglob(".*"))  # no temporary file stays


def test_interrupted_run_says_how_to_go_on(tmp_path, command, reference):
    """SIGINT finishes the step and saves; what the run says is what is then done."""
    run = tmp_path / "run"
    process = command("train", *OPTIONS, "--out", "run")
    wait_for(run / "log.jsonl", 10, process)
    process.send_signal(signal.SIGINT)
    out, error = process.communicate()
    assert (process.returncode, error) == (130, "")
    stopped = next(line for line in out.splitlines() if line.startswith("stopped after step "))
    words = stopped.partition("go on with: ")[2].split()
    assert words == ["ramgru", "train", "--resume", "run"]
    assert not (run / "model").exists()
    process = command(*words[1:])
    _, error = process.communicate()
    assert process.returncode == 0, error
    assert (run / WEIGHTS).read_bytes() == (reference / WEIGHTS).read_bytes()
    assert values(run) == values(reference)


def test_terminated_run_saves(tmp_path, command):
    """SIGTERM, which a cluster sends before it kills, is the same wish; only the code differs."""
    run = tmp_path / "run"
    process = command("train", *OPTIONS, "--out", "run")
    wait_for(run / "log.jsonl", 3, process)
    process.terminate()
    out, error = process.communicate()
    assert (process.returncode, error) == (143, "")
    assert "stopped after step " in out
    assert (run / "checkpoint.safetensors").exists()
