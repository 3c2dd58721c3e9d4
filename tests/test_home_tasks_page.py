"""benchmarks/home_tasks.py: from a row to the page, at sizes that are done in seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ramgru.baselines import PEERS
from ramgru.study import runs
from ramgru.tasks.registry import TASKS
from ramgru.train.build import build_model

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(scope="module")
def module() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import home_tasks

        yield home_tasks


@pytest.fixture(scope="module")
def made(module: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """A row that cannot miss its bar, one that cannot reach it, and one whose peer is not there."""
    how = {"steps": 2, "batch_size": 4, "evaluate_examples": 4}
    small = {"model": {"d_model": 8, "num_layers": 1}, "how": how, "rates": (1e-3, 1e-2)}
    homes = [
        module.Home(
            "attention,heads=2", "mqar", {"vocab_size": 32, "pairs": 2, "length": 16}, 0.0,
            "is above nothing", "nobody", **small,
        ),
        module.Home(
            "gru", "parity", {"length": 4}, 1.1, "is beyond all", "nobody",
            asked={"min_length": 9, "length": 9}, **small,
        ),
        module.Home("perceptron", "parity", {"length": 4}, 0.9, "is not here", "nobody", **small),
    ]  # fmt: skip
    root, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    rows = [home.row() for home in homes if not home.missing]
    assert module.quality_runs.run(rows, root, (0, 1))
    page = module.write(homes, root, docs, (0, 1))
    return SimpleNamespace(homes=homes, rows=rows, root=root, docs=docs, page=page)


def test_the_page_tells_who_reached_the_known_result(made):
    text = made.page.read_text(encoding="utf-8")
    data = json.loads((made.docs / "home_tasks.json").read_text(encoding="utf-8"))
    assert list(data) == ["attention-mqar", "gru-parity"]
    assert "Not measured yet: perceptron-parity." in text
    lines = text.splitlines()
    first, second = (
        next(line for line in lines if line.startswith(f"| {name} | ≥"))
        for name in ("attention-mqar", "gru-parity")
    )
    assert " | 6.2 % | yes | 2 | " in first
    assert " | 50.0 % | no | 2 | " in second
    score = data["gru-parity"]["score"]
    assert score["mean"] == sum(score["each"]) / len(score["each"])
    assert score["low"] <= score["mean"] <= score["high"]
    assert data["gru-parity"]["lr"] in (1e-3, 1e-2)
    assert "| min_length 9, length 9 |" in text
    assert "`attention,heads=2`, 1 of width 8" in text


def test_a_second_call_trains_nothing(module, made, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    assert module.quality_runs.run(made.rows, made.root, (0, 1))


def test_what_a_row_lacks_is_named(module, made):
    assert made.homes[2].missing == "no peer 'perceptron'"
    assert replace(made.homes[2], task="juggling").missing == (
        "no peer 'perceptron' and no task 'juggling'"
    )


def test_nothing_finished_writes_no_page(module, made, tmp_path):
    assert module.write(made.homes, tmp_path / "runs", tmp_path / "docs") is None
    assert not (tmp_path / "docs").exists()


def test_rows_have_one_name_each_and_a_source(module):
    assert len({home.name for home in module.HOMES}) == len(module.HOMES)
    assert all(home.known and home.source and home.rates for home in module.HOMES)


def test_rows_can_be_trained(module):
    for home in module.HOMES:
        assert home.peer in PEERS
        assert home.task in TASKS
        row = home.row()
        build_model(row.training.model, row.training.task)
        (question,) = row.questions
        assert question.task.chance < home.least < 1


def test_an_unknown_row_is_refused():
    found = subprocess.run(
        [sys.executable, BENCHMARKS / "home_tasks.py", "gru-juggling"],
        capture_output=True,
        text=True,
    )
    assert found.returncode == 2
    assert "unknown row 'gru-juggling'; expected some of attention-mqar," in found.stderr
