"""What is asked for wrongly ends with exit code 2 and one sentence; what fails, with 1."""

from __future__ import annotations

import sys
import tempfile
import types

import pytest

from ramgru import RAMGRU
from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.cli.main import COMMANDS, explain
from ramgru.lab.cli.parse import UsageError, sentence


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """The exit code and what was said on standard error: one line."""
    code = main(args)
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1, error
    return code, error.strip()


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("trian", "ramgru: unknown command 'trian'; did you mean train?"),
        ("train mqra", "TASK: unknown task 'mqra'; did you mean mqar?"),
        ("generate mqra", "TASK: unknown task 'mqra'; did you mean mqar?"),
        ("compare mqra", "TASK: unknown task 'mqra'; did you mean mqar?"),
        (
            "train --pears 3",
            "--pears; did you mean --task.pairs?",
        ),
        ("train --bach-size 3", "unknown option --bach-size; did you mean --batch-size"),
        ("train --model.layers gru", "unknown option --model.layers; did you mean --model.layer"),
        ("train --xyzzy", "unknown option --xyzzy; --help-all lists the options"),
        ("evaluate --effort.question 3", "did you mean --effort.questions?"),
        ("inspect --sede 3", "unknown option --sede; did you mean --seed?"),
        ("compare --step 3", "unknown option --step; did you mean --steps?"),
        ("compare --lever", "unknown option --lever; did you mean --levers or"),
        ("compare --seeds -1", "seeds: expected at least 0, got (-1,)"),
        ("compare --model.layer gru", "model.layer: expected 'ramgru', got 'gru'"),
        ("train --steps 3 mqar", "unexpected argument 'mqar': expected options, which begin with"),
        ("info all", "unexpected argument 'all': expected none"),
        ("completion fsh", "SHELL: expected one of bash, zsh, tcsh, got fsh"),
        ("completion", "SHELL: expected one of bash, zsh, tcsh, got none"),
        ("train --steps three", "--steps: expected an integer, got 'three'"),
        ("train --lr fast", "--lr: expected a number, got 'fast'"),
        ("train --steps", "--steps: expected a value"),
        ("train --betas 0.9", "--betas: expected 2 values"),
        ("train --optimizer sgd", "--optimizer: expected one of ('adam', 'adamw'), got 'sgd'"),
        ("train --steps 0", "steps must be at least 1, got 0"),
        ("train --clip nan", "clip must be a finite number, got nan"),
        ("train --seed 99999999999999999999", "seed must be below 2**63, got 99999999999999999999"),
        ("train --task.power inf", "power must be positive and finite, got inf"),
        ("train --lr inf", "lr must be a finite number, got inf"),
        ("train --model.mlp-ratio nan", "mlp_ratio must be a finite number, got nan"),
        (
            "train --model.memory.gate-bias nan",
            "Memory.gate_bias: expected a finite number, got nan",
        ),
        (
            "train --model.memory.heads kay",
            "Memory.heads: expected heads of key, learned, lag, tape, got 'kay'",
        ),
        ("train --model.memory.width 0", "Memory.width: expected at least 1, got 0"),
        (
            "train --model.memory.writes two",
            "--model.memory.writes: expected an integer, got 'two'",
        ),
        ("train --task.pairs 40", "length must be at least 160 for pairs=40, got 64"),
        ("train --model.d-model 0", "d_model must be at least 1, got 0"),
        ("train --device tpu", "device must be auto, cpu or cuda, got 'tpu'"),
        ("train file", "task file reads a file: expected --data FILE instead of 'file'"),
        ("train text", "task text reads a file: expected --text FILE instead of 'text'"),
        ("train mqar --text x", "give TASK or --text, not both, got 'mqar' and 'x'"),
        ("generate --out x.txt", "path must end in .npz or .parquet, got 'x.txt'"),
        ("generate --examples 0", "examples: expected at least 1, got 0"),
        ("evaluate --effort.examples 0", "examples must be at least 1, got 0"),
    ],
)
def test_usage(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    code, error = said(capsys, *line.split())
    assert code == 2
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("evaluate nowhere", "ramgru evaluate: nowhere/config.json is missing"),
        ("evaluate", "no run in runs/: expected one made by `ramgru train`"),
        ("inspect", "no run"),
        ("report", "ramgru compare"),
        ("runs", "no run in runs/: expected one made by `ramgru train` or `ramgru compare`"),
        ("runs 3", "no run '3': expected a run's directory, or a number of the list"),
        ("train --resume", "no run in runs/"),
        ("train --resume nowhere", "nowhere/config.json is missing"),
        ("train --data nowhere.npz", "nowhere.npz"),
        ("train --text nowhere.txt", "cannot read "),
        ("generate --out nowhere/x.npz --examples 2", "nowhere/x.npz"),
    ],
)
def test_failure(tmp_path, monkeypatch, capsys, line, message):
    monkeypatch.chdir(tmp_path)
    code, error = said(capsys, *line.split())
    assert code == 1
    assert message in error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", sorted(COMMANDS.keys() - {"info"}))
def test_missing_library(monkeypatch, capsys, command):
    """An extra that is not installed is named with the command that installs it."""
    for name in [
        m for m in sys.modules if m.startswith("ramgru.lab.cli.") and m != "ramgru.lab.cli.main"
    ]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tyro", None)
    code, error = said(capsys, command)
    assert (code, error) == (
        1,
        f"ramgru {command}: command line needs tyro, which is not installed: "
        "pip install tyro rich accelerate (or, in the repository, pip install '.[train]')",
    )


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (
            ModuleNotFoundError("", name="pyarrow.parquet"),
            1,
            "pip install pyarrow (or, in the repo",
        ),
        (ModuleNotFoundError("", name="optuna"), 1, "pip install optuna (or, in the repo"),
        (OSError(28, "No space left on device", "x"), 1, "x: No space left on device"),
        (RuntimeError("CUDA out of memory. Tried to"), 1, "out of memory: try a smaller batch"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 1, "out of memory"),
        (MemoryError("Unable to allocate 7 TiB"), 1, "out of memory"),
    ],
    ids=["extra", "optuna", "disk", "memory", "cpu-memory", "numpy-memory"],
)
def test_what_errors_mean(error, code, message):
    found, text = explain(error)
    assert found == code
    assert text is not None
    assert message in text


def raised(function, *arguments):
    """The error that a call ends with, and its trace."""
    with pytest.raises((ValueError, TypeError)) as found:
        function(*arguments)
    return found.value


def test_errors_that_ramgru_raises_on_purpose_are_about_the_options():
    assert explain(raised(tasks.get, "mqra"))[0] == 2
    assert explain(raised(RAMGRU, 3)) == (70, None)  # a missing argument
    assert explain(raised(int, "three")) == (70, None)


@pytest.mark.parametrize("error", [KeyError("x"), ModuleNotFoundError("", name="nothing")])
def test_faults_of_ours_are_told_as_such(error, monkeypatch, capsys, tmp_path):
    """In one sentence that names a file with the trace, and with an exit code of their own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def run(args):
        raise error

    monkeypatch.setitem(sys.modules, "ramgru.lab.cli.info", types.SimpleNamespace(run=run))
    code, message = said(capsys, "info")
    (trace,) = tmp_path.iterdir()
    assert code == 70
    assert "this is a bug in ramgru, unless a layer of your own is to blame" in message
    assert f"the trace is in {trace}" in message
    text = trace.read_text()
    assert text.startswith("ramgru ")
    assert "Traceback" in text
    assert text.rstrip().splitlines()[-1].startswith(type(error).__name__)


def test_debug_shows_the_traceback(monkeypatch):
    monkeypatch.setenv("RAMGRU_DEBUG", "1")
    with pytest.raises(UsageError, match="steps must be at least 1"):
        main(["train", "--steps", "0"])


FRAMED = """\
╭─ Value error ─╮
│ one           │
│ two.          │
│ ───────────── │
│ help          │
╰───────────────╯
"""
BARE = """\
 Value error
 ---------------
  one
  two.
  -------------
  help
"""


@pytest.mark.parametrize("box", [FRAMED, BARE], ids=["utf-8", "ascii"])
def test_boxes_are_read_in_any_encoding(box):
    assert sentence(box) == "one two"


def test_a_warning_is_one_sentence_said_once(capsys, monkeypatch):
    import warnings

    def run(args):
        warnings.simplefilter("always")
        for _ in range(3):
            warnings.warn("memory_size=7 is rounded up", stacklevel=1)
        return 0

    monkeypatch.setitem(sys.modules, "ramgru.lab.cli.info", types.SimpleNamespace(run=run))
    before = warnings.showwarning
    assert main(["info"]) == 0
    assert capsys.readouterr().err == "ramgru info: warning: memory_size=7 is rounded up\n"
    assert warnings.showwarning is before


def test_info_needs_no_extra(capsys, monkeypatch):
    for name in ("tyro", "rich", "accelerate", "safetensors", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)  # what a failed import leaves
    for name in [name for name in sys.modules if name.startswith("ramgru.lab.cli.")]:
        if name != "ramgru.lab.cli.main":
            monkeypatch.delitem(sys.modules, name)
    assert main(["info"]) == 0
    assert "memory_scan" in capsys.readouterr().out
    assert main(["info", "everything"]) == 2
    assert "unexpected argument 'everything': expected none" in capsys.readouterr().err
