"""benchmarks/quality.py: its way from a claim to the page, at sizes that are done in seconds."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.compare import runs
from ramgru.lab.evaluate import Effort
from ramgru.lab.tasks import IGNORE
from ramgru.lab.train import ModelConfig, TrainConfig
from ramgru.lab.train.build import RAMOptions
from ramgru.lab.train.run import load_run

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"
RAM = RAMOptions(nhead=2, head_size=4, address_size=4, memory_size=256)
EFFORT = Effort(questions=8, examples=2, tokens=64)


@pytest.fixture(scope="module")
def q() -> Any:
    """The benchmark's modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        import quality
        import quality_measures
        import quality_page
        import quality_rows
        import quality_runs

        yield SimpleNamespace(
            quality=quality,
            measures=quality_measures,
            page=quality_page,
            rows=quality_rows,
            runs=quality_runs,
        )


def training(name: str, layer: Any = "ramgru", **options: Any) -> TrainConfig:
    return TrainConfig(
        task=tasks.get(name, **options),
        model=ModelConfig(layer=layer, d_model=8, num_layers=1, ram=RAM),
        steps=2,
        batch_size=4,
        evaluate_examples=4,
        threads=1,
        device="cpu",
    )


def small_rows(q: Any) -> list[Any]:
    """One that beats another, whose learning rate is tuned, and one that never gets there."""
    small = {"vocab_size": 32, "pairs": 2, "length": 16}
    questions = tuple(
        q.rows.Question(
            {"pairs": pairs, "length": 8 * pairs},
            tasks.get("mqar", vocab_size=32, pairs=pairs, length=8 * pairs),
            (q.rows.Bar(least=0.0), q.rows.Bar("exact")),
            EFFORT,
        )
        for pairs in (2, 4)
    )
    return [
        q.rows.Row(
            "recall",
            "It recalls.",
            training("mqar", **small),
            questions,
            seeds=(0, 1),
            above="peer",
            picture="pairs",
        ),
        q.rows.Row(
            "peer",
            "Its peer.",
            training("mqar", layer="attention", **small),
            questions,
            rates=(1e-3, 1e-2),
            seeds=(0, 1),
        ),
        q.rows.Row(
            "never",
            "It gets there.",
            replace(training("mqar", **small), curriculum=False, evaluate_every=1, target=1.1),
            (
                q.rows.Question(
                    {"pairs": 2},
                    tasks.get("mqar", **small),
                    (q.rows.Bar("steps", most=1, every=True), q.rows.Bar("reached", least=1)),
                    measure=q.measures.steps_to_target,
                ),
            ),
            seeds=(0, 1, 2),
            picture="curves",
        ),
        q.rows.Row("later", "It was not run.", training("copy"), ()),
    ]


@pytest.fixture(scope="module")
def made(q: Any, tmp_path_factory: pytest.TempPathFactory) -> SimpleNamespace:
    """All rows but the last, by two processes; of the third row two seeds of three."""
    root, docs = tmp_path_factory.mktemp("runs"), tmp_path_factory.mktemp("docs")
    rows = small_rows(q)
    assert q.runs.run(rows[:3], root, (0, 1), processes=2)
    page = q.page.write(rows, root, docs / "study", RAM)
    return SimpleNamespace(rows=rows, root=root, docs=docs, page=page)


def test_the_page_tells_what_was_found(made):
    text = made.page.read_text(encoding="utf-8")
    data = json.loads((made.docs / "study" / "quality.json").read_text(encoding="utf-8"))
    assert list(data) == ["recall", "peer", "never"]
    assert "Not measured yet: later." in text
    assert "| [recall](#recall) | 3 of 3, above peer in " in text
    assert "| [never](#never) | 1 of 3 | 2 of 3 so far | 2 |" in text
    assert "![recall against pairs](../images/quality/recall.svg)" in text
    assert sorted(p.name for p in (made.docs / "images" / "quality").iterdir()) == [
        "never.svg",
        "recall.svg",
    ]
    (first, second, *_), peer = data["recall"]["cells"], data["peer"]
    assert first["value"] == "score"
    assert len(first["each"]) == 2
    assert first["low"] <= first["mean"] == sum(first["each"]) / 2 <= first["high"]
    assert (first["bar"], first["met"], first["chance"]) == ("≥ 0.0 %", True, 1 / 16)
    assert (second["value"], second["bar"], second["met"]) == ("exact", "", None)
    line = next(line for line in text.splitlines() if line.startswith("| 2 pairs, length 16 | rec"))
    above = "yes" if first["mean"] > peer["cells"][0]["mean"] else "no"
    assert line.endswith(f" {above} |")
    assert "of 0.001 and 0.01, by the held-out loss on seed 0" in text
    assert "python benchmarks/quality.py recall" in text


def test_a_target_that_is_not_reached_meets_no_bar(made):
    data = json.loads((made.docs / "study" / "quality.json").read_text(encoding="utf-8"))
    steps, reached, seconds = data["never"]["cells"]
    assert (steps["each"], steps["met"]) == ([2.0, 2.0], False)
    assert (reached["mean"], reached["met"]) == (0.0, False)
    assert seconds["value"] == "seconds"
    assert seconds["met"]


def test_a_second_call_trains_and_measures_nothing(q, made, monkeypatch):
    before = {path: path.stat().st_mtime_ns for path in made.root.rglob("*")}

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("everything was done before")

    monkeypatch.setattr(runs, "train", refuse)
    monkeypatch.setattr(q.measures, "measure_at", refuse)
    assert q.runs.run(made.rows[:3], made.root, (0, 1))
    assert {path: path.stat().st_mtime_ns for path in made.root.rglob("*")} == before


def test_another_question_is_measured_without_training(q, made, monkeypatch):
    monkeypatch.setattr(runs, "train", None)
    row = made.rows[0]
    asked = replace(row.questions[0], effort=replace(EFFORT, examples=3))
    assert q.runs.run([replace(row, questions=(asked,))], made.root)
    found = q.page.collect(replace(row, questions=(asked,)), made.root)
    assert found.cells[0].value == "score"


def test_the_rate_of_the_lowest_loss_is_taken(q, made):
    row = made.rows[1]
    losses = {
        trial.lr: runs.held_out(q.runs.folder_of(trial, made.root), "recall")[1]
        for trial in row.trials
    }
    assert q.runs.chosen(row, made.root).lr == min(losses, key=losses.__getitem__)
    assert q.runs.chosen(replace(row, rates=(1e-3, 0.5)), made.root) is None


def test_a_run_that_fails_does_not_end_the_others(q, tmp_path, capsys):
    row = q.rows.Row("parity", "", training("parity", length=4), (), seeds=(0, 1))
    bad = q.runs.folder_of(replace(row.training, seed=0), tmp_path)
    bad.mkdir(parents=True)
    (bad / "config.json").write_text("{}")
    assert not q.runs.run([row], tmp_path)
    assert bad.name in capsys.readouterr().err
    assert q.page.collect(row, tmp_path).seeds == [1]


def test_a_bar_is_held_against_the_mean_or_each_seed(q):
    Bar = q.rows.Bar
    assert Bar(least=0.5).holds([0.4, 0.7])
    assert not Bar(least=0.5, every=True).holds([0.4, 0.7])
    assert not Bar("cost", most=0.05).holds([0.05, 0.06])
    assert Bar().holds([0.4]) is None


def test_kinds_and_bits_are_measured(q, tmp_path):
    programs = training("programs", registers=2, statements=6)
    items = training("associative_recall", items=3)
    for config in (programs, items):
        runs.trained(config, tmp_path / config.task.name, quiet=True)
    found = q.measures.answers(tmp_path / "programs", programs.task, EFFORT)
    assert {"exact read", "exact arithmetic", "exact text"} <= set(found)
    fixed = items.task.resized(min_items=3)
    found = q.measures.answers(tmp_path / "associative_recall", fixed, EFFORT)
    assert found["wrong"] == pytest.approx((1 - found["score"]) * 18)
    assert found["cost"] == pytest.approx(18, rel=0.3)  # hardly trained: a bit a bit
    assert found["wrong"] < 18


def test_kept_cells_are_those_that_noise_does_not_touch(q, tmp_path, monkeypatch):
    config = training("hold", vocab_size=40, noise=6, distance=20)
    runs.trained(config, tmp_path / "run", quiet=True)
    task = config.task.resized(min_distance=100, distance=100)
    _, _, model = load_run(tmp_path / "run")
    monkeypatch.setattr(q.measures, "load_run", lambda run: (config, config.task, model))
    memory = model.layers[0].memories[0]
    with torch.no_grad():  # gates that reach 0: noise shuts them, all else opens them
        memory.gate_range = (-1.0, 1.0)
        memory.update_gate.weight.zero_()
        memory.update_gate.bias.fill_(5.0)
        memory.update_gate.weight[:, 0] = 100.0
        model.embedding.weight[:, 0] = 1.0
        model.embedding.weight[-6:, 0] = -1.0
    shut = q.measures.kept_cells(Path(), task, replace(EFFORT, examples=3))
    assert shut == {"kept": 1.0, "cells": 3 * 2 * 4}  # sequences, heads, cells a write
    with torch.no_grad():
        memory.update_gate.weight[:, 0] = 0.0  # now noise is written too
        memory.address.query_weight.zero_()  # … and to the same cells, whatever the key
    assert q.measures.kept_cells(Path(), task, EFFORT)["kept"] == 0.0


def test_rows_stay_within_what_they_may_train_on(q):
    assert list(q.quality.ROWS) == [row.name for row in q.quality.ROWS.values()]
    for row in q.quality.ROWS.values():
        options = row.training.task.options()
        assert options.get("pairs", 0) <= 64
        assert row.training.task.draw(256, 0).inputs.shape[1] <= 256
        assert row.above is None or row.above in q.quality.ROWS
        assert row.training.model.layer == "attention" or row.training.model.ram == q.quality.RAM
        for question in row.questions:  # the model that was trained can read what is asked
            of = ("vocab_size", "features", "outputs")
            asked, trained = question.task, row.training.task
            assert [getattr(asked, n) for n in of] == [getattr(trained, n) for n in of]


def test_a_cost_is_told_of_sequences_that_ask_for_as_many(q):
    for row in q.quality.ROWS.values():
        for question in row.questions:
            if question.task.outputs:
                labels = question.task.draw(8, 0).labels
                assert len(set((labels != IGNORE).sum(axis=(1, 2)).tolist())) == 1


def test_an_unknown_row_is_refused():
    found = subprocess.run(
        [sys.executable, BENCHMARKS / "quality.py", "mqr"], capture_output=True, text=True
    )
    assert found.returncode == 2
    assert "unknown row 'mqr'; expected some of mqar, mqar_attention," in found.stderr


def test_shares_and_counts_are_written_apart(q):
    assert [q.page._text(x, "score") for x in (0.5, 0.9998)] == ["50.0 %", "99.98 %"]
    assert [q.page._text(x, "cost") for x in (0.0123, 0.0, 1234.5)] == ["0.012", "0", "1,234"]
    assert math.isfinite(q.page.LONGEST.most)
