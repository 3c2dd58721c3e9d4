"""Any terminal: no traceback and no lost training, whatever standard output is."""

from __future__ import annotations

import importlib
import os
import pty
import signal
import subprocess
import sys
import types
from pathlib import Path

import pytest
import torch

from ramgru.lab.cli import main

SMALL = (
    *("mqar", "--task.vocab-size", "32", "--task.pairs", "2", "--task.length", "8"),
    *("--model.layer", "gru", "--model.d-model", "8", "--model.num-layers", "1"),
    *("--steps", "4", "--steps-per-epoch", "2", "--batch-size", "4", "--evaluate-examples", "4"),
)
EFFORT = ("--effort.questions", "8", "--effort.examples", "2", "--effort.max-length", "256")


def test_characters_that_a_terminal_lacks_are_replaced():
    shown = "epoch 1 · loss … – x ✓ ✗ │█▁ ä →"
    assert shown.encode("ascii", "ramgru.similar") == b"epoch 1 - loss ... - x + x |@. ? ->"
    assert "ä ·".encode("latin-1", "ramgru.similar") == "ä ·".encode("latin-1")


def forked(arguments, descriptors, **environment) -> int:
    """The exit code of a command in a process whose standard streams are these; None: closed."""
    number = os.fork()
    if number == 0:
        code = 99
        try:
            os.environ.update(environment)
            for place, descriptor in enumerate(descriptors):
                if descriptor is None:
                    os.close(place)
                else:
                    os.dup2(descriptor, place)
            streams = {}
            for place, name in ((1, "stdout"), (2, "stderr")):
                stream = None
                if descriptors[place] is not None:
                    stream = open(place, "w", encoding="ascii", errors="strict")  # noqa: SIM115
                streams[name] = stream
                setattr(sys, name, stream)
                setattr(sys, f"__{name}__", stream)
            code = main(arguments)
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


@pytest.fixture
def files(tmp_path, monkeypatch):
    """Descriptors of standard streams by their names."""
    monkeypatch.chdir(tmp_path)
    read, ended = os.pipe()
    os.close(read)
    found = {
        "null": os.open(os.devnull, os.O_RDWR),
        "ended": ended,
        "full": os.open("/dev/full", os.O_WRONLY),
        "file": os.open(tmp_path / "said", os.O_RDWR | os.O_CREAT),
    }
    yield found
    for descriptor in found.values():
        os.close(descriptor)


# A process that has started a GPU's threads must not fork.
forks = pytest.mark.skipif(torch.cuda.is_available(), reason="forks")


@forks
def test_no_standard_output_ends_a_training(files, tmp_path):
    """In ASCII, closed, a pipe whose reader has ended, a full disk; with markup in its path."""
    for name, out in (
        ("ascii", files["file"]),
        ("closed", None),
        ("ended", files["ended"]),
        ("full", files["full"]),
    ):
        run = f"[b]{name}[/b]"
        streams = (None if name == "closed" else files["null"], out, out)
        assert forked(["train", *SMALL, "--out", run], streams) == 0, name
        assert Path(run, "model", "model.safetensors").exists()
        assert forked(["evaluate", run, *EFFORT], streams, COLUMNS="20") == 0, name
    said = (tmp_path / "said").read_bytes()
    assert b"epoch 1 - loss " in said
    assert b"the run is in [b]ascii[/b]" in said
    assert b"[b]" in said.partition(b"the run is in [b]ascii[/b]")[2]
    assert b"Traceback" not in said
    log = Path("[b]closed[/b]", "log.jsonl").read_text()
    assert "epoch 1" not in log  # the log has not got the number of standard output


@forks
def test_a_narrow_terminal(files, tmp_path):
    """20 columns, and a progress bar."""
    ours, theirs = pty.openpty()
    number = os.fork()
    if number == 0:
        code = 98
        try:
            os.close(ours)
            code = forked(["train", *SMALL, "--out", "run"], (theirs,) * 3, COLUMNS="20")
        finally:
            os._exit(code)
    os.close(theirs)
    shown = b""
    try:
        while piece := os.read(ours, 1 << 16):
            shown += piece
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    assert os.waitstatus_to_exitcode(os.waitpid(number, 0)[1]) == 0
    assert b"epoch 2 - loss" in shown


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_signal_ends_a_command_with_its_number(monkeypatch, capsys, tmp_path, number, code):
    """Outside of training, too; an evaluation goes on after the sizes that are measured."""
    monkeypatch.chdir(tmp_path)
    former = signal.signal(signal.SIGINT, signal.default_int_handler)
    hung_up = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored below nohup, which is kept
    try:
        monkeypatch.setitem(
            sys.modules,
            "ramgru.lab.cli.generate",
            types.SimpleNamespace(run=lambda args: signal.raise_signal(number)),
        )
        assert main(["generate"]) == code
    finally:
        signal.signal(signal.SIGINT, former)
        signal.signal(signal.SIGHUP, hung_up)
    assert capsys.readouterr().err == (
        "ramgru generate: interrupted; nothing was written; the same command begins again\n"
    )
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_an_evaluation_goes_on(monkeypatch, capsys, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert main(["train", *SMALL, "--out", "run"]) == 0
    assert main(["evaluate", "run", *EFFORT]) == 0
    whole = Path("run", "evaluation.json").read_bytes()
    Path("run", "evaluation.json").unlink()
    progress = importlib.import_module("ramgru.lab.evaluate.evaluate")._Progress
    measured = []

    def row(self, row):
        measured.append(row)
        if len(measured) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(progress, "row", row)
    capsys.readouterr()
    assert main(["evaluate", "run", *EFFORT]) == 143
    assert "the same command goes on after the sizes" in capsys.readouterr().err
    again = []
    monkeypatch.setattr(progress, "row", lambda self, row: again.append(row))
    drawn = []
    sweep = importlib.import_module("ramgru.lab.evaluate.sweep")
    measure = sweep._measure

    def counted(*arguments):
        drawn.append(arguments)
        return measure(*arguments)

    monkeypatch.setattr(sweep, "_measure", counted)
    assert main(["evaluate", "run", *EFFORT]) == 0
    assert again[:2] == measured
    assert len(drawn) == len(again) - 2
    assert Path("run", "evaluation.json").read_bytes() == whole
    assert not list(Path("run").glob("evaluation.part*"))


def test_without_home_and_terminal(tmp_path):
    """A process of its own: an environment of nothing but Python's path; the current folder's
    modules are not taken for those of libraries."""
    for name in ("rich", "tyro", "accelerate"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('hidden')")
    path = os.pathsep.join(place for place in sys.path if place)
    found = subprocess.run(
        [sys.executable, "-m", "ramgru", "generate", "parity", "--examples", "3"],
        cwd=tmp_path,
        env={"PYTHONPATH": path, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (found.returncode, found.stderr) == (0, "")
    assert found.stdout.startswith("3 examples of parity in parity.npz")
