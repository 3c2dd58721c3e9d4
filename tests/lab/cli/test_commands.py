"""The commands, one after the other, as a user walks through them."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from ramgru.config import Key, Memory, Tape
from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.cli.completion import DEFAULTS
from ramgru.lab.cli.main import COMMANDS
from ramgru.lab.cli.options import field_help, options
from ramgru.lab.cli.train import configure
from ramgru.lab.train import log
from ramgru.lab.train.configfile import read_config
from ramgru.version import __version__

SIZES = ("--task.vocab-size", "32", "--task.pairs", "2", "--task.length", "8")
MODEL = ("--model.d-model", "8", "--model.num-layers", "1", "--model.memory.cells", "64")
SHORT = ("--steps", "4", "--steps-per-epoch", "2", "--batch-size", "4", "--evaluate-examples", "8")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_walk(tmp_path, capsys):
    """Generate, train on the file, evaluate the newest run, look inside, go on."""
    assert main(["generate", "mqar", *SIZES, "--examples", "32", "--out", "x.npz"]) == 0
    size = (tmp_path / "x.npz").stat().st_size
    said, *after = capsys.readouterr().out.splitlines()
    assert said == f"32 examples of mqar in x.npz ({size:,} bytes)"
    assert after == ["", "next:", "  ramgru train --data x.npz"]
    drawn = tasks.get("mqar", vocab_size=32, pairs=2, length=8).draw(32, 0)
    assert np.array_equal(tasks.read_examples("x.npz").batch.inputs, drawn.inputs)

    assert main(["train", "--data", "x.npz", *MODEL, *SHORT]) == 0
    first, *lines = capsys.readouterr().out.splitlines()
    assert " · runs/file-ramgru · ramgru, " in first
    assert [line.split(" · ")[0] for line in lines[:2]] == ["epoch 1", "epoch 2"]
    assert lines[2] == "all steps done after step 4; the run is in runs/file-ramgru"
    assert json.loads((tmp_path / "runs/file-ramgru/config.json").read_text())["task"] == {
        "name": "file",
        "options": {"path": str(tmp_path / "x.npz")},
    }

    effort = ("--effort.questions", "8", "--effort.examples", "2", "--effort.max-length", "64")
    assert main(["evaluate", *effort]) == 0
    assert "runs/file-ramgru" in capsys.readouterr().out
    assert (tmp_path / "runs/file-ramgru/evaluation.json").exists()

    assert main(["train", "--resume", "--steps", "6"]) == 0
    assert "after step 6" in capsys.readouterr().out
    assert log.read(tmp_path / "runs/file-ramgru/log.jsonl")[-1]["step"] == 6

    assert main(["inspect", "runs/file-ramgru"]) == 0
    assert (tmp_path / "runs/file-ramgru/inspect.html").exists()
    *_, following, _ = capsys.readouterr().out.splitlines()
    assert following == "  ramgru inspect runs/file-ramgru --seed 1"
    assert main(["inspect", "--out", "page.html"]) == 0  # of the newest run, wherever its page is
    assert "  ramgru inspect runs/file-ramgru --seed 1\n" in capsys.readouterr().out
    assert main(following.split()[1:]) == 0


def test_text_with_sizes_of_its_own(tmp_path):
    """The text is shorter than the default window, so the sizes are needed to read it."""
    (tmp_path / "t.txt").write_text("to be or not to be, " * 10)
    options = ("--task.length", "8", "--task.unit", "byte", "--tbptt", "4")
    assert main(["train", "--text", "t.txt", *options, *MODEL, *SHORT]) == 0
    config = read_config(tmp_path / "runs/text-ramgru/config.json")
    assert (config.task.options()["length"], config.task.vocab_size) == (8, 256)
    assert main(["train", "--resume", "runs/text-ramgru", "--steps", "6"]) == 0


def test_runs_are_numbered(tmp_path):
    for _ in range(2):
        assert main(["train", "mqar", *SIZES, *MODEL, *SHORT]) == 0
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == [
        "mqar-ramgru",
        "mqar-ramgru-2",
    ]


def test_resume_takes_the_options_of_the_run(capsys):
    """And those that are given, before them; with --out it begins where nothing was begun."""
    options = ("mqar", *SIZES, *MODEL, *SHORT, "--out", "here")
    assert main(["train", *options, "--resume"]) == 0
    assert main(["train", *options, "--resume"]) == 0
    config = configure(["--resume", "here", "--steps", "9"])
    assert (config.steps, config.steps_per_epoch, config.model.d_model) == (9, 2, 8)
    assert (config.task.options()["pairs"], str(config.out), str(config.resume)) == (
        2,
        "here",
        "here",
    )
    assert configure(["--resume=here"]).resume == config.resume
    capsys.readouterr()
    assert main(["train", "parity", "--resume", "here"]) == 2
    assert "TASK must stay 'mqar' when here goes on, got 'parity'" in capsys.readouterr().err


def test_what_comes_next_fits_the_run(capsys):
    """A layer without a memory is not to be inspected; a comparison keeps its options."""
    gru = ("--model.layer", "gru", "--out", "elsewhere/gru")
    few = ("--effort.questions", "8", "--effort.examples", "2", "--effort.max-length", "64")
    assert main(["train", "mqar", *SIZES, *MODEL[:4], *SHORT, *gru]) == 0
    assert "ramgru inspect" not in capsys.readouterr().out
    assert main(["evaluate", "elsewhere/gru", *few]) == 0
    assert capsys.readouterr().out.endswith("\nnext:\n  ramgru runs elsewhere/gru\n")
    assert main(["runs", "--root", "elsewhere"]) == 0
    out = capsys.readouterr().out
    assert "ramgru inspect" not in out
    assert out.endswith("  ramgru runs 1 --root elsewhere\n")
    assert main(["train", "mqar", *SIZES, *MODEL, *SHORT, "--out", "ours"]) == 0
    assert main(["evaluate", "ours", *few]) == 0
    assert "\nnext:\n  ramgru inspect ours\n  ramgru runs ours\n" in capsys.readouterr().out


def test_compare_suggests_itself_with_more_seeds(capsys, monkeypatch):
    from ramgru.lab.cli import compare

    monkeypatch.setattr(compare, "compare", lambda config: config.folder)
    monkeypatch.setenv("COLUMNS", "100")
    options = "mqar --layers gru --task.pairs 4 --out x"
    assert main(f"compare {options} --open".split()) == 0
    assert f"  ramgru compare {options} --seeds 0 1 2\n" in capsys.readouterr().out
    assert main(f"compare {options} --seeds 3".split()) == 0
    assert "ramgru compare" not in capsys.readouterr().out


def test_compare_and_its_report(capsys, tmp_path):
    few = ("--effort.questions", "8", "--effort.examples", "2", "--effort.max-length", "64")
    options = (*SIZES, *MODEL, "--steps", "2", "--batch-size", "4", "--layers", "ramgru", "gru")
    assert main(["compare", "mqar", *options, "--equal", "nothing", *few]) == 0
    report = tmp_path / "runs/compare-mqar/report.html"
    assert report.exists()
    report.unlink()
    assert main(["report"]) == 0
    assert report.exists()


def test_compare_takes_tasks_and_layers_with_their_options(tmp_path):
    from ramgru.lab.cli.compare import configure

    words = "mqar,pairs=2 parity,length=9 --task.length 32 --layers gru,d_model=8"
    own = "--layer my_module:MyLayer --layer=attention,positions=rope --levers"
    config = configure(f"{words} {own}".split())
    assert [(task.name, task.options()["length"]) for task in config.tasks] == [
        ("mqar", 32),
        ("parity", 9),
    ]
    assert config.task.pairs == 2
    own = ("my_module:MyLayer", "attention,positions=rope")
    assert config.layers == ("gru,d_model=8", *own)
    assert str(config.folder) == "runs/compare-2-tasks-levers"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--layer", "gur"], "--layer: layer must be one of .*got 'gur'; did you mean gru"),
        (["--layer"], "--layer: expected a layer's name or module:Class"),
        (["mqar", "party"], "unknown task 'party'; did you mean parity"),
        (["mqar,pears=2"], "TASK: task mqar has no option 'pears'; did you mean pairs"),
        (["mqar", "mqar"], "tasks: expected different names"),
    ],
)
def test_compare_refuses_what_it_does_not_know(args, message, capsys):
    assert main(["compare", *args]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_a_layer_of_ones_own_is_trained_gone_on_with_and_evaluated(tmp_path, capsys):
    (tmp_path / "layers_of_mine.py").write_text(
        "from torch import nn\n\nclass Mine(nn.GRU):\n    def __init__(self, d_model):\n"
        "        super().__init__(d_model, d_model, batch_first=True)\n"
    )
    own = ("--layer", "layers_of_mine:Mine")
    assert main(["train", "mqar", *own, *SIZES, "--steps", "2", "--batch-size", "4"]) == 0
    run = tmp_path / "runs/mqar-layers_of_mine-Mine"
    assert run.exists()
    few = ("--effort.questions", "8", "--effort.examples", "2", "--effort.max-length", "64")
    del sys.modules["layers_of_mine"]
    assert main(["evaluate", str(run), *few]) == 1
    assert "name it yourself, on the command line" in capsys.readouterr().err
    assert main(["evaluate", str(run), *own, *few]) == 0
    assert main(["train", "--resume", str(run), *own, "--steps", "3"]) == 0
    sys.modules.pop("layers_of_mine")


def test_info(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    assert f"ramgru   {__version__}" in out
    assert all(f"  {name} " in out for name in tasks.TASKS)
    for name in ("library", "runs", "mingru", "memory_scan", "linear_scan"):
        assert f"\n  {name} " in out


def test_a_memory_has_its_heads_as_one_word():
    heads = ("--model.memory.heads", "tape key key:2")
    memory = configure(["mqar", *heads, "--model.memory.cells", "64"]).model.memory
    assert memory == Memory(cells=64, heads=(Key(), Key(2), Tape()))
    assert configure(["mqar", "--model.memory.heads", "3"]).model.memory.heads == (Key(),) * 3
    assert configure(["mqar"]).model.memory == Memory()


def test_the_help_of_a_memorys_options_is_that_of_its_fields(capsys):
    with pytest.raises(SystemExit):
        main(["train", "--help-all"])
    out = " ".join(capsys.readouterr().out.split())
    assert "Cells that a step writes and reads in each key head" in out
    assert "--model.memory.heads HEADS" in out


def test_help_names_every_command(capsys):
    assert main(["--help"]) == 0
    out = capsys.readouterr().out
    assert all(f"  {name:<10}  {text}" in out for name, text in COMMANDS.items())
    assert main([]) == 2
    assert main(["--version"]) == 0


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_one_screen_as_wide_as_the_terminal(capsys, monkeypatch, command):
    """24 lines of 80 columns; in 20 columns, no line that has a break is wider."""
    words = [*command.split(), "--help"]
    for columns in (80, 20):
        monkeypatch.setenv("COLUMNS", str(columns))
        with contextlib.suppress(SystemExit):
            main(words)
        lines = capsys.readouterr().out.splitlines()
        assert " ".join(lines[:2]).replace(" \\", "").startswith(f"usage: ramgru {command}".strip())
        words_of = [line.removesuffix(" \\").split() for line in lines]
        assert all(len(line) <= columns or len(of) == 1 for line, of in zip(lines, words_of))
        assert len(lines) <= 24 or columns < 80


@pytest.mark.parametrize("command", DEFAULTS)
def test_help_points_to_all_of_it(capsys, command):
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    assert f"ramgru {command} --help-all\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("evaluate", ["--effort.max-length N Longest sequence (no limit)", "(torch's own choice)"]),
        ("train", ["--model.memory.heads HEADS", "Sizes, listed by ramgru train TASK --help-all"]),
    ],
)
def test_help_says_what_a_default_means(capsys, monkeypatch, command, words):
    monkeypatch.setenv("COLUMNS", "80")
    with contextlib.suppress(SystemExit):
        main([command, "--help"])
    out = " ".join(capsys.readouterr().out.split())
    for phrase in words:
        assert phrase in out


@pytest.mark.parametrize("command", DEFAULTS)
def test_help_shows_options_that_exist_and_all_of_them_if_asked(capsys, monkeypatch, command):
    with pytest.raises(SystemExit) as end:
        main([command, "--help-all"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    known = options(type(DEFAULTS[command]), DEFAULTS[command])
    assert all(flag in out for option in known for flag in option.flags)
    with pytest.raises(SystemExit):
        main(["help", command])  # another way to ask for --help
    shown = capsys.readouterr().out
    assert f"  ramgru {command}" in shown
    assert set(re.findall(r"(--[a-z.-]+)", shown)) <= {
        *re.findall(r"(--[a-z.-]+)", out),
        "--help-all",
    }


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_shells_complete_commands_tasks_and_options(capsys, shell, tmp_path):
    pytest.importorskip("shtab")
    assert main(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "--model.memory.heads" in script
    if shell == "bash":
        (tmp_path / "ramgru.sh").write_text(script)
        ask = (
            "source ramgru.sh; COMP_WORDS=(%s); COMP_CWORD=%d; _shtab_ramgru; echo ${COMPREPLY[@]}"
        )
        for words, found in (
            ("ramgru in", "inspect info"),
            ("ramgru train mqa", "mqar mqar_compositional mqar_update"),
            ("ramgru train mqar --task.pai", "--task.pairs"),
            ("ramgru compare --layers atten", "attention"),
        ):
            script = ask % (words, len(words.split()) - 1)
            done = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
            assert done.stdout.split() == found.split(), done.stderr


@pytest.mark.parametrize("name", tasks.TASKS)
def test_every_size_of_a_task_has_help(name):
    task = tasks.get(name)
    assert set(field_help(type(task))) >= set(task.options())


def test_module_and_script_are_one(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "ramgru", "--version"], capture_output=True, text=True
    )
    assert (done.returncode, done.stdout) == (0, f"ramgru {__version__}\n")
