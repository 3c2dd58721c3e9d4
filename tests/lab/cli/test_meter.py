"""`ramgru meter`: what it prints, what it writes, and where."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.cli import main
from ramgru.lab.train import ModelConfig, TrainConfig, train

TINY = ("--model.layer", "gru", "--model.d-model", "8", "--model.num-layers", "1")
NOISE = ("--delays", "16", "--steps", "512")
LEARN = ("--effort.steps", "20", "--effort.batch-size", "8", "--effort.length", "2")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run(tmp_path):
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=64, pairs=2, length=8),
        model=ModelConfig(layer="gru", d_model=8, num_layers=1),
        steps=2,
        batch_size=4,
        evaluate_examples=4,
    )
    return train(replace(config, out=tmp_path / "runs" / "one"), quiet=True).run


def content(path) -> dict:
    return json.loads(path.read_text(encoding="utf-8"))


def test_capacity_of_a_fresh_model(tmp_path, capsys):
    assert main(["meter", *TINY, *NOISE]) == 0
    found = content(tmp_path / "runs/meter-capacity.json")
    assert (found["meter"], found["of"], found["units"]) == ("capacity", "gru, fresh", 8)
    assert len(found["curve"]) == 17
    assert 0 < found["capacity"] <= 8
    assert found["config"]["delays"] == 16
    out = capsys.readouterr().out
    assert f"gru, fresh · {found['capacity']:.2f} past inputs in 8 units" in out
    assert re.search(rf"│ +16 │ +{found['curve'][16]:.3f} │", out)
    assert main(["meter", "capacity", *TINY, *NOISE, "--seed", "1", "--out", "x.json"]) == 0
    assert content(tmp_path / "x.json")["capacity"] != found["capacity"]


def test_bits_in_the_parameters_of_a_fresh_model(tmp_path, capsys):
    assert main(["meter", "parameters", *TINY, *LEARN, "--items", "4", "16"]) == 0
    rows = content(tmp_path / "runs/meter-parameters.json")["rows"]
    assert [row["items"] for row in rows] == [4, 16]
    for row in rows:
        assert 0 <= row["bits"] <= row["items"]
        assert row["bits_per_parameter"] == row["bits"] / row["parameters"]
    assert f"gru, fresh · {rows[0]['parameters']:,} parameters" in capsys.readouterr().out


def test_meters_of_a_run_are_written_into_it(run, capsys):
    assert main(["meter", "state", "--effort.questions", "8", "--effort.max-length", "64"]) == 0
    rows = content(run / "meter-state.json")["rows"]
    assert [(row["axes"]["pairs"], row["state_bits"]) for row in rows] == [
        *((2, 256), (4, 256), (8, 256), (16, 256)),
    ]
    assert all(row["bits_per_state_bit"] == row["bits"] / 256 for row in rows)
    assert main(["meter", "capacity", "--run", "runs/one", *NOISE]) == 0
    assert content(run / "meter-capacity.json")["of"] == "runs/one"
    assert main(["meter", "parameters", "--run", "runs/one", *LEARN, "--items", "4"]) == 0
    assert content(run / "meter-parameters.json")["config"]["run"] == "runs/one"
    out = capsys.readouterr().out
    assert "bits/state bit" in out
    assert out.count("wrote runs/one/meter-") == 3


def test_help_lists_the_options_of_the_kind_that_is_named(capsys):
    shown = {}
    for kind in ("capacity", "parameters", "state"):
        with pytest.raises(SystemExit):
            main(["meter", kind, "--help"])
        shown[kind] = capsys.readouterr().out
    assert "--delays" in shown["capacity"]
    assert "--items" in shown["parameters"]
    assert "--effort.questions" in shown["state"]
    assert "--delays" not in shown["state"]
