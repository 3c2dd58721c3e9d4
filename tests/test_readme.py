"""The README's Python code runs, its commands and options exist, and its links resolve."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import ramgru
from ramgru.lab.cli.main import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [w[w.index("ramgru") + 1 :] for w in words if "ramgru" in w]


def test_python_runs_from_top_to_bottom(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # the code writes a file
    torch.manual_seed(0)
    names: dict[str, object] = {}
    assert len(blocks("python")) >= 5
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
    assert names["logits"].shape == (4, 25, 100)
    assert names["tokens"].shape == (4, 10)


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_options_of_commands_exist(words, capsys):
    named = [word for word in words if word.startswith("--")]
    task = [word for word in words[1:2] if not word.startswith("-")]
    with_help = [words[0], *task, "--help-all"]
    with pytest.raises(SystemExit) as stop:
        main(with_help)
    assert stop.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in named:
        assert option in shown


def test_your_own_layer_runs_in_a_comparison(tmp_path, monkeypatch):
    """The code of docs/comparing.md runs with the command beside it."""
    text = (ROOT / "docs" / "comparing.md").read_text(encoding="utf-8")
    (snippet,) = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    (tmp_path / "my_module.py").write_text(snippet)
    monkeypatch.chdir(tmp_path)
    command = "compare mqar --layer my_module:MyLayer"
    assert f"\nramgru {command}\n" in text
    small = "--layers gru --task.vocab-size 32 --task.pairs 2 --task.length 16 --model.d-model 8"
    budget = "--steps 2 --batch-size 4 --equal nothing --effort.questions 8 --effort.examples 2"
    assert main(f"{command} {small} {budget}".split()) == 0
    report = tmp_path / "runs" / "compare-mqar" / "report.html"
    assert "nn.GRU beside my_module:MyLayer" in report.read_text(encoding="utf-8")


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_links_resolve(target):
    assert (ROOT / target).exists()


def test_make_targets_exist():
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE)
    assert named == ["run", "test"]
    assert set(named) <= set(made)


def test_public_names_are_as_listed():
    assert ramgru.__all__ == [
        "RAMGRU",
        "Key",
        "Lag",
        "Learned",
        "Memory",
        "QuantizedState",
        "RAMGRUModel",
        "RAMGRUState",
        "Tape",
        "__version__",
        "explain",
        "memory_scan",
        "trace",
        "write_cost",
    ]
