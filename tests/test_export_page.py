"""The page on exports, from top to bottom: its Python, and the commands that build and run C++.

It is slow: `make slow` runs it.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
import torch
from test_docs import PAGES
from test_without_ramgru import environment, needs_tools

ROOT = Path(__file__).parents[1]
pytestmark = [needs_tools, pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    torch.manual_seed(0)
    names: dict[str, object] = {"__name__": "page"}
    missing = []
    text = PAGES["guide/export.md"].read_text(encoding="utf-8")
    for number, block in enumerate(text.split("\n```")):
        language, _, code = block.partition("\n")
        if language == "bash" and "pip install" not in code:
            subprocess.run(code, shell=True, check=True, env=environment())
        elif language == "python":
            try:
                exec(compile(code, f"block {number}", "exec", dont_inherit=True), names)
            except ModuleNotFoundError as error:
                if (error.name or "").split(".")[0] == "ramgru":
                    raise
                missing.append(error.name)
    assert os.path.exists("y.pt")
    if missing:
        pytest.skip(f"all but what needs {missing}")
