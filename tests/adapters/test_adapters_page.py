"""The code of docs/adapters.md runs, one library after the other."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "adapters.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", TEXT, flags=re.DOTALL)
LIBRARIES = ("transformers", "torchrl", "darts", "neuralforecast", "sktime")


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_python_runs(number, tmp_path, monkeypatch):
    for library in LIBRARIES:
        if re.search(rf"from (ramgru\.adapters\.)?{library}\b", BLOCKS[number]):
            pytest.importorskip(library)
    monkeypatch.chdir(tmp_path)
    exec(compile(BLOCKS[number], "docs/adapters.md", "exec"), {"__name__": "docs"})


def test_every_program_is_listed():
    programs = {path.name for path in (ROOT / "examples").glob("*.py")}
    shown = (ROOT / "examples" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`(\w+\.py)`", shown)) >= programs
    for name in re.findall(r"`(\w+\.py)`", TEXT):
        assert name in programs
