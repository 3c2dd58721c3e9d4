"""The README is right: its Python runs, its commands exist, its links lead somewhere."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import torch

import ramgru
from ramgru.cli.main import main

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("bash") for line in block.splitlines()]
    words = [shlex.split(line, comments=True) for line in lines]
    return [w[w.index("ramgru") + 1 :] for w in words if "ramgru" in w]


def test_python_runs_from_top_to_bottom():
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
    with_help = [words[0], *task, "--help"]
    with pytest.raises(SystemExit) as stop:
        main(with_help)
    assert stop.value.code in (0, None)
    shown = capsys.readouterr().out
    for option in named:
        assert option in shown


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)#]+)\)", TEXT))))
def test_links_lead_somewhere(target):
    assert (ROOT / target).exists()


def test_make_targets_exist():
    made = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    named = re.findall(r"^make (\w+)", "\n".join(blocks("bash")), flags=re.MULTILINE)
    assert named == ["run", "test"]
    assert set(named) <= set(made)


def test_public_names_are_as_listed():
    assert sorted(ramgru.__all__) == [
        "RAMGRU",
        "RAMGRUModel",
        "RAMGRUState",
        "__version__",
        "memory_scan",
        "trace",
    ]
