"""docs/leaderboard.md: drawn from its data, and that data is of the suite that is there."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

from ramgru.lab.compare.leaderboard import standings
from ramgru.lab.compare.results import from_json
from ramgru.lab.compare.table import to_csv

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def scripts():
    """The scripts as modules; what importing them changes is undone afterwards."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        yield {name: importlib.import_module(name) for name in ("leaderboard", "leaderboard_page")}
    for name in ("leaderboard", "leaderboard_page", "pages"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def data():
    return from_json((DOCS / "leaderboard.json").read_text(encoding="utf-8"))


def test_page_and_table_are_drawn_from_the_data(scripts, data, tmp_path):
    page = scripts["leaderboard_page"].write(DOCS / "leaderboard.json", tmp_path)
    again = "run `python benchmarks/leaderboard.py --draw`"
    assert page.read_text(encoding="utf-8") == (DOCS / "leaderboard.md").read_text(
        encoding="utf-8"
    ), again
    assert to_csv(data) == (DOCS / "leaderboard.csv").read_text(encoding="utf-8")
    drawn = {path.name for path in (tmp_path / "images" / "leaderboard").iterdir()}
    assert drawn == {path.name for path in (DOCS / "images" / "leaderboard").iterdir()}


def test_the_data_is_of_the_whole_suite(scripts, data):
    suite = scripts["leaderboard"].SUITE
    assert [task.task for task in data.tasks] == [task.name for task in suite.tasks]
    for task, known in zip(data.tasks, suite.tasks, strict=True):
        assert task.layers == list(suite.layers)
        for layer in task.layers:
            assert [run.seed for run in task.of(layer)] == list(suite.seeds)
        assert {run.steps for run in task.runs} == {suite.steps}
        assert known.options().items() >= task.trained.items()
    assert all(place.mean is not None for place in standings(data))
