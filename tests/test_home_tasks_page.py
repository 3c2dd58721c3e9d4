"""benchmarks/home_tasks.py: from a row to the page, at sizes that are done in seconds."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ramgru.lab.compare import runs
from ramgru.lab.peers import PEERS
from ramgru.lab.tasks.registry import TASKS
from ramgru.lab.train.build import build_model

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


@pytest.fixture
def again(made: SimpleNamespace, tmp_path: Path) -> Path:
    """A folder with the page and its data, to be written to."""
    return Path(shutil.copytree(made.docs, tmp_path / "docs"))


def test_rows_stay_when_their_runs_are_gone(module, made, again, tmp_path):
    assert module.write(made.homes, tmp_path / "none", again) == again / made.page.name
    for path in made.docs.iterdir():
        assert (again / path.name).read_bytes() == path.read_bytes()


def test_a_kept_row_is_told_in_new_words(module, made, again, tmp_path):
    homes = [replace(made.homes[0], known="is at last", source="somebody"), *made.homes[1:]]
    page = module.write(homes, tmp_path / "none", again).read_text(encoding="utf-8")
    assert "| attention-mqar | is at last | somebody | " in page
    assert page.count("\n| gru-parity | ") == 2


@pytest.mark.parametrize("change", [{"least": 0.5}, {"how": {"steps": 3}}, {"asked": {}}])
def test_a_row_of_another_recipe_is_not_kept(module, made, again, tmp_path, change):
    homes = [made.homes[0], replace(made.homes[1], **change), made.homes[2]]
    page = module.write(homes, tmp_path / "none", again).read_text(encoding="utf-8")
    assert "Not measured yet: gru-parity and perceptron-parity." in page
    data = json.loads((again / "home_tasks.json").read_text(encoding="utf-8"))
    assert list(data) == ["attention-mqar"]


def test_of_kept_and_found_the_one_of_more_seeds_is_shown(module, made, tmp_path):
    def seeds(asked: tuple[int, ...]) -> list[int]:
        module.write(made.homes, made.root, tmp_path, asked)
        data = json.loads((tmp_path / "home_tasks.json").read_text(encoding="utf-8"))
        return data["gru-parity"]["seeds"]

    assert seeds((0,)) == [0]
    assert seeds((0, 1)) == [0, 1]
    assert seeds((0,)) == [0, 1]


def test_the_published_page_is_drawn_from_its_data(module, tmp_path):
    study = module.DOCS / "study"
    for name in ("home_tasks.json", "home_tasks.md"):
        shutil.copy(study / name, tmp_path)
    module.write(module.HOMES, tmp_path / "none", tmp_path)
    for name in ("home_tasks.json", "home_tasks.md"):
        assert (tmp_path / name).read_bytes() == (study / name).read_bytes()


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
