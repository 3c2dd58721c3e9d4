"""benchmarks/claims.py, from a row to its page, at sizes that take seconds."""

from __future__ import annotations

import importlib
import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ramgru import Memory
from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.compare.results import Comparison
from ramgru.lab.compare.tables import standings
from ramgru.lab.evaluate import Effort
from ramgru.lab.tasks import IGNORE
from ramgru.lab.train import ModelConfig, TrainConfig, build_model
from ramgru.lab.train.run import load_run

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
MEMORY = Memory(cells=256, heads=2, width=4, writes=4)
EFFORT = Effort(questions=8, examples=2, tokens=64)
MODULES = ("claims", "claims_table", "claims_rows", "claims_runs", "claims_page")


@pytest.fixture(scope="module")
def c() -> Iterator[Any]:
    """The benchmark's modules by their last name; importing them leaves nothing behind."""
    names = (*MODULES, "claims_measures", "claims_leaderboard")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "benchmarks"))
        found = {name.split("_")[-1]: importlib.import_module(name) for name in names}
        yield SimpleNamespace(**found)
    for name in (*names, "pages"):
        sys.modules.pop(name, None)


def training(name: str, layer: str = "ramgru", **options: Any) -> TrainConfig:
    return TrainConfig(
        task=tasks.get(name, **options),
        model=ModelConfig(layer=layer, d_model=8, num_layers=1, memory=MEMORY),
        steps=2,
        batch_size=4,
        evaluate_examples=4,
        threads=1,
        device="cpu",
    )


def small_page(c: Any) -> Any:
    """A row beside its peer with two rates, one that cannot meet its bars, one that is not run."""
    small = {"vocab_size": 32, "pairs": 2, "length": 16}
    Row, Question, Bar = c.rows.Row, c.rows.Question, c.rows.Bar
    questions = tuple(
        Question(
            {"pairs": pairs},
            tasks.get("mqar", **{**small, "pairs": pairs}),
            (Bar(least=0.0), Bar("exact")),
            EFFORT,
        )
        for pairs in (2, 4)
    )
    recall = Row(
        "recall", "It recalls.", training("mqar", **small), questions, above="peer",
        seeds=(0, 1), picture="pairs", changes="to be small",
    )  # fmt: skip
    peer = Row(
        "peer", "Its peer.", training("mqar", layer="attention", **small), questions,
        rates=(1e-3, 1e-2), seeds=(0, 1), source="nobody",
    )  # fmt: skip
    never = Row(
        "never",
        "It succeeds.",
        replace(training("mqar", **small), curriculum=False, evaluate_every=1, target=1.1),
        (
            Question(
                {"pairs": 2},
                tasks.get("mqar", **small),
                (Bar("steps", most=1, every=True), Bar("reached", least=1)),
                measure=c.measures.steps_to_target,
            ),
        ),
        seeds=(0, 1, 2),
        picture="curves",
    )
    later = Row("later", "It was not run.", training("copy"), ())
    return c.rows.Page("small", "Small", "Rows of a test.", (recall, peer, never, later))


@pytest.fixture(scope="module")
def made(c: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """All rows but the last, by two processes; of the third row two seeds of three."""
    root, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    page = small_page(c)
    assert c.claims.study(page, docs, ("recall", "peer", "never"), (0, 1), 2, root)
    study = docs / "study"
    data = json.loads((study / "small.json").read_text(encoding="utf-8"))
    text = (study / "small.md").read_text(encoding="utf-8")
    return SimpleNamespace(page=page, root=root, docs=docs, data=data, text=text)


@pytest.fixture
def again(made: SimpleNamespace, tmp_path: Path) -> Path:
    """A copy of the written pages."""
    return Path(shutil.copytree(made.docs, tmp_path / "docs"))


def test_the_page_states_the_results(made):
    assert list(made.data) == ["recall", "peer", "never"]
    assert "Not measured at this state of the code: later." in made.text
    assert "| [recall](#recall) | 3 of 3, above peer in " in made.text
    assert "| [never](#never) | 1 of 3 | 2 of 3 so far | 2 |" in made.text
    assert "![recall against pairs](../images/small/recall.svg)" in made.text
    drawn = sorted(path.name for path in (made.docs / "images" / "small").iterdir())
    assert drawn == ["never.svg", "recall.svg"]
    seeds = made.data["recall"]["seeds"]
    assert list(seeds) == ["0", "1"]
    mine, theirs = (
        sum(seed["found"][0]["score"] for seed in made.data[name]["seeds"].values()) / 2
        for name in ("recall", "peer")
    )
    lines = made.text.splitlines()
    line = next(line for line in lines if line.startswith("| 2 pairs | recall | ≥ 0.0 %"))
    assert line.endswith(" yes |" if mine > theirs else " no |")
    assert "of 0.001 and 0.01, by the held-out loss on seed 0" in made.text
    assert "Its peer (nobody)." in made.text
    assert "to be small." in made.text
    assert "Again: `python benchmarks/claims.py small recall`." in made.text


def test_a_run_that_misses_its_target_meets_no_bar(made):
    section = made.text.split("## never")[1]
    assert "| 2 pairs | steps | ≤ 1, each seed | 2 |" in section
    assert [seed["found"][0]["reached"] for seed in made.data["never"]["seeds"].values()] == [0, 0]


def test_the_rate_of_the_lowest_loss_is_taken(c, made):
    row = made.page.rows[1]
    losses = {
        trial.lr: runs.held_out(c.runs.folder_of(trial, made.root), "recall")[1]
        for trial in row.trials
    }
    assert made.data["peer"]["lr"] == min(losses, key=losses.__getitem__)
    assert c.runs.chosen(replace(row, rates=(1e-3, 0.5)), made.root) is None


def test_a_second_call_trains_and_measures_nothing(c, made, again, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in made.root.rglob("*")}
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    monkeypatch.setattr(c.measures, "measure_at", lambda *_, **__: pytest.fail("measured again"))
    assert c.claims.study(made.page, again, ("recall", "peer"), (0, 1), 1, made.root)
    assert {path: path.stat().st_mtime_ns for path in made.root.rglob("*")} == before
    assert (again / "study" / "small.md").read_text(encoding="utf-8") == made.text


def test_another_question_is_measured_without_training(c, made, again, monkeypatch):
    monkeypatch.setattr(runs, "train", lambda *_, **__: pytest.fail("trained again"))
    row = made.page.rows[0]
    asked = replace(row.questions[0], effort=replace(EFFORT, examples=3))
    page = replace(made.page, rows=(replace(row, questions=(asked,)),))
    assert c.claims.study(page, again, (), (), 1, made.root)
    data = json.loads((again / "study" / "small.json").read_text(encoding="utf-8"))
    assert len(data["recall"]["seeds"]["0"]["found"]) == 1


def test_results_outlive_their_runs_and_grow_by_seeds(c, made, again, tmp_path):
    page, path = made.page, again / "study" / "small.json"
    assert c.runs.update(page, path, tmp_path / "none") == made.data
    path.write_text(
        json.dumps(
            {"never": {**made.data["never"], "seeds": {"2": made.data["never"]["seeds"]["0"]}}}
        )
    )
    assert list(c.runs.update(page, path, made.root, (0, 1))["never"]["seeds"]) == ["0", "1", "2"]


def test_results_of_another_recipe_are_left_out(c, made, again):
    path = again / "study" / "small.json"
    row = made.page.rows[0]
    for changed in (
        replace(row, training=replace(row.training, steps=3)),
        replace(row, rates=(1e-3,)),
        replace(row, questions=row.questions[:1]),
    ):
        page = replace(made.page, rows=(changed, *made.page.rows[1:]))
        assert list(c.runs.read(page, path)) == ["peer", "never"]
    reworded = replace(row, claim="It recalls all.", questions=row.questions)
    page = replace(made.page, rows=(reworded, *made.page.rows[1:]))
    text = c.page.write(page, c.runs.read(page, path), again).read_text(encoding="utf-8")
    assert "It recalls all." in text


def test_a_compact_page_is_one_table_and_one_picture(c, made, tmp_path):
    page = replace(made.page, compact=True, rows=made.page.rows[:2])
    path = c.page.write(page, {n: made.data[n] for n in ("recall", "peer")}, tmp_path)
    text = path.read_text(encoding="utf-8")
    assert "\n## " not in text
    assert "|  | state | parameters | 2 pairs | 4 pairs | seeds | rate |" in text
    assert "![recall by state](../images/small/recall.svg)" in text


def test_a_run_that_fails_does_not_end_the_others(c, tmp_path, capsys):
    row = c.rows.Row("parity", "", training("parity", length=4), (), seeds=(0, 1))
    bad = c.runs.folder_of(replace(row.training, seed=0), tmp_path)
    bad.mkdir(parents=True)
    (bad / "config.json").write_text("{}")
    assert not c.runs.run([row], tmp_path)
    assert bad.name in capsys.readouterr().err
    assert list(c.runs.collect(row, tmp_path)["seeds"]) == ["1"]


def test_a_bar_is_on_the_mean_or_on_each_seed(c):
    Bar = c.rows.Bar
    assert Bar(least=0.5).holds([0.4, 0.7])
    assert not Bar(least=0.5, every=True).holds([0.4, 0.7])
    assert not Bar("cost", most=0.05).holds([0.05, 0.06])
    assert Bar().holds([0.4]) is None


def test_kinds_and_bits_are_measured(c, tmp_path):
    programs = training("programs", registers=2, statements=6)
    items = training("associative_recall", items=3)
    for config in (programs, items):
        runs.trained(config, tmp_path / config.task.name, quiet=True)
    found = c.measures.answers(tmp_path / "programs", programs.task, EFFORT)
    assert {"exact read", "exact arithmetic", "exact text"} <= set(found)
    fixed = items.task.resized(min_items=3)
    found = c.measures.answers(tmp_path / "associative_recall", fixed, EFFORT)
    assert found["wrong"] == pytest.approx((1 - found["score"]) * 18)
    assert found["cost"] == pytest.approx(18, rel=0.3)  # hardly trained: about one bit per bit
    assert found["wrong"] < 18


def test_kept_cells_are_those_that_noise_does_not_touch(c, tmp_path, monkeypatch):
    config = training("hold", vocab_size=40, noise=6, distance=20)
    runs.trained(config, tmp_path / "run", quiet=True)
    task = config.task.resized(min_distance=100, distance=100)
    _, _, model = load_run(tmp_path / "run")
    monkeypatch.setattr(c.measures, "load_run", lambda run: (config, config.task, model))
    memory = model.layers[0].memories[0]
    with torch.no_grad():  # gates that are exactly 0 for noise, and open for all else
        memory.update_gate.weight.zero_()
        memory.update_gate.bias.fill_(5.0)
        memory.update_gate.weight[:, 0] = 1000.0
        model.embedding.weight[:, 0] = 1.0
        model.embedding.weight[-6:, 0] = -1.0
    shut = c.measures.kept_cells(Path(), task, replace(EFFORT, examples=3))
    assert shut == {"kept": 1.0, "cells": 3 * 2 * 4}  # sequences, heads, cells a write
    with torch.no_grad():
        memory.update_gate.weight[:, 0] = 0.0  # noise is written too …
        memory.heads["key"].frozen.zero_()  # … and to the same cells, whatever the key
    assert c.measures.kept_cells(Path(), task, EFFORT)["kept"] == 0.0


# The table


def test_rows_are_valid(c):
    for page in c.table.PAGES.values():
        names = [row.name for row in page.rows]
        assert len(set(names)) == len(names)
        for row in page.rows:
            assert row.above is None or row.above in names
            model = build_model(row.training.model, row.training.task)
            assert model.state_size > 0 or model.state_growth > 0
            for question in row.questions:  # the trained model can read the question
                asked, trained = question.task, row.training.task
                for name in ("vocab_size", "features", "outputs"):
                    assert getattr(asked, name) == getattr(trained, name)
                assert all(bar.least is None or bar.least > 0 for bar in question.bars)


def test_quality_trains_on_short_sequences_with_the_defaults(c):
    for row in c.table.QUALITY.rows:
        options = row.training.task.options()
        assert options.get("pairs", 0) <= 64
        most = max(256, 3 * options.get("lag", 0))  # no lag is learned from sequences without it
        assert row.training.task.draw(256, 0).inputs.shape[1] <= most
        usual = row.training.model.memory == Memory()
        assert usual == (not row.changes)  # a row that differs from the defaults says why
        for question in row.questions:
            labels = question.task.draw(8, 0).labels
            if labels.ndim == 3:  # a cost per sequence needs equally many bits in each
                assert len(set((labels != IGNORE).sum(axis=(1, 2)).tolist())) == 1


def test_home_tasks_name_their_source_and_a_bar_above_chance(c):
    for row in c.table.HOME_TASKS.rows:
        (question,) = row.questions
        assert row.source
        assert question.task.chance < question.bars[0].least < 1


# The committed pages


@pytest.mark.parametrize("name", ["quality", "home_tasks", "state_bytes", "leaderboard"])
def test_committed_pages_are_drawn_from_their_data(c, name, tmp_path):
    at = Path("." if name == "leaderboard" else "study")
    (tmp_path / at).mkdir(exist_ok=True)
    data = DOCS / at / f"{name}.json"
    page = data.with_suffix(".md")
    if not data.exists():
        assert not page.exists()
        return
    shutil.copy(data, tmp_path / at)
    drawn = c.claims.draw(name, tmp_path)
    again = "run `python benchmarks/claims.py --draw`"
    assert drawn.read_text(encoding="utf-8") == page.read_text(encoding="utf-8"), again
    images = [sorted(p.name for p in (d / "images" / name).glob("*")) for d in (DOCS, tmp_path)]
    assert images[0] == images[1], again


def test_the_leaderboard_merges_layers_measured_apart(c, tmp_path):
    board = c.leaderboard
    known = board.read(DOCS)
    assert [task.task for task in known.tasks] == [task.name for task in board.SUITE.tasks]
    assert all(place.mean is not None for place in standings(known))
    fresh = part_of(known, "gru", "another machine")
    both = board.merged(part_of(known, "gru", "an old machine"), fresh)
    assert both == fresh
    both = board.merged(part_of(known, "attention", "one machine"), fresh)
    assert both.layers == ["gru", "attention"]
    assert both.config["machines"] == {"attention": "one machine", "gru": "another machine"}
    board.store(replace(both, config={**both.config, "out": "/a/folder/of/runs"}), tmp_path)
    assert board.read(tmp_path).layers == ["gru", "attention"]
    assert "/a/folder" not in (tmp_path / "leaderboard.json").read_text(encoding="utf-8")
    text = board.write(both, tmp_path).read_text(encoding="utf-8")
    assert "- Machine of nn.GRU: another machine." in text
    assert "- Machine of Attention: one machine." in text
    assert board.selected(["ramgru"]) == board.OURS


def part_of(known: Comparison, layer: str, machine: str) -> Comparison:
    """One layer of a comparison."""
    found = [
        replace(
            task,
            runs=[run for run in task.runs if run.layer == layer],
            tried=[trial for trial in task.tried if trial.layer == layer],
        )
        for task in known.tasks
    ]
    config = {**known.config, "layers": [layer], "machines": {layer: machine}}
    return replace(known, tasks=found, config=config)


def test_an_unknown_row_is_refused():
    command = [sys.executable, ROOT / "benchmarks" / "claims.py", "quality", "mqr"]
    found = subprocess.run(command, capture_output=True, text=True)
    assert found.returncode == 2
    assert "unknown row 'mqr' of quality; expected mqar, mqar_attention," in found.stderr
