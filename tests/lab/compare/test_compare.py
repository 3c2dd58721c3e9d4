import json
import sys
from dataclasses import replace

import pytest
import torch

from ramgru import Memory, files
from ramgru.errors import CheckpointError, DataError, RamgruError
from ramgru.lab.compare import CompareConfig, ReportConfig, compare, report
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.levers import LEVERS
from ramgru.lab.compare.results import from_json
from ramgru.lab.compare.runs import finished, run_name
from ramgru.lab.compare.tuning import tune
from ramgru.lab.train import ModelConfig, build_model, count_parameters, load_run


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stamps(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/log.jsonl")}


def only(config):
    """The results of the one task of a comparison."""
    (results,) = from_json((config.folder / "compare.json").read_text(encoding="utf-8")).tasks
    return results


def test_layers_are_trained_evaluated_reported_and_reused(small, capsys):
    path = compare(small)
    assert path == small.folder / "report.html"
    results = only(small)
    assert results.layers == ["gru", "mingru"]
    assert [run.steps for run in results.runs] == [6, 6]
    assert results.trained == {"pairs": 2, "length": 16}
    sizes = [dict(p.axes) for p in small.task.grid() if small.effort.allows(p)]
    assert [row.axes for row in results.runs[0].rows] == sizes
    assert all(finished(small.folder / run.name) for run in results.runs)
    assert results.runs[0].curve.metric_steps == [1, 2, 3, 4, 5, 6]
    assert (small.folder / "compare.csv").read_text().count("\n") == 1 + 2 * len(sizes)
    drawn = path.read_text(encoding="utf-8")
    assert "nn.GRU beside minGRU on mqar" in drawn
    printed = capsys.readouterr().out
    assert "2 runs of 6 steps · lr 0.003 · about 10 seconds" in printed.splitlines()[0]
    assert "run 1 of 2 · mqar · nn.GRU · lr 0.003 · seed 0" in printed
    assert "chance" in printed
    assert printed.splitlines()[-1] == f"report: {path}"

    before = stamps(small.folder)
    path.unlink()
    assert report(ReportConfig(small.folder), quiet=True) == path  # drawn again without training
    assert path.read_text(encoding="utf-8") == drawn
    other = report(ReportConfig(small.folder / "compare.json", small.folder / "b.html"), quiet=True)
    assert other.read_text(encoding="utf-8") == drawn
    compare(small, quiet=True)
    assert stamps(small.folder) == before
    compare(replace(small, steps=7, layers=("gru",)), quiet=True)
    after = stamps(small.folder)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before


def test_a_killed_run_is_resumed_and_missing_evaluations_are_made_again(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    first = only(one)
    folder = one.folder / first.runs[0].name
    # the state after a kill behind the last checkpoint: no model, no evaluation, no end in the log
    (folder / "evaluation.json").unlink()
    (folder / "model" / "model.safetensors").unlink()
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:-1]))
    assert not finished(folder)
    compare(one, quiet=True)
    assert finished(folder)
    assert only(one).runs[0].rows == first.runs[0].rows

    whole = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**whole, "rows": whole["rows"][:1]}))
    compare(one, quiet=True)
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == whole["rows"]

    config = json.loads((folder / "config.json").read_text())
    del config["sha256"]  # changed by hand
    (folder / "config.json").write_text(json.dumps({**config, "steps": 5}))
    with pytest.raises(RamgruError, match="holds a run whose options differ from those of its na"):
        compare(one, quiet=True)


def test_a_run_that_fails_is_left_out_and_tried_again(small, monkeypatch):
    from ramgru.lab.compare import runs

    trained = runs.trained

    def fail(config, folder, **options):
        if config.model.layer == "mingru":
            raise RamgruError("nan [data]")
        return trained(config, folder, **options)

    monkeypatch.setattr(runs, "trained", fail)
    with pytest.raises(RamgruError, match=r"1 jobs failed, and the report .*nan \[data\]"):
        compare(small, quiet=True)
    assert only(small).layers == ["gru"]
    monkeypatch.setattr(runs, "trained", trained)
    compare(small, quiet=True)
    assert only(small).layers == ["gru", "mingru"]


def test_the_best_rate_is_reported_and_seeds_have_an_interval(small):
    config = replace(small, layers=("gru",), lr=(1e-9, 3e-2), seeds=(0, 1), steps=30)
    compare(config, quiet=True)
    results = only(config)
    assert [(trial.lr, trial.chosen) for trial in results.tried].count((3e-2, True)) == 1
    assert {run.lr for run in results.runs} == {3e-2}
    assert [run.seed for run in results.runs] == [0, 1]
    assert len(list(config.folder.glob("mqar-gru-lr*"))) == 3  # two rates, and one more seed
    low = results.score("gru", {"pairs": 2, "length": 16}).low
    assert low is not None


def test_a_budget_in_seconds_is_converted_into_steps_once(small):
    config = replace(small, layers=("gru",), seconds=0.02)
    compare(config, quiet=True)
    (steps,) = files.read_json(config.folder / "budget.json").values()
    assert only(config).runs[0].steps == steps >= 1
    before = stamps(config.folder)
    compare(config, quiet=True)
    assert stamps(config.folder) == before


@pytest.mark.parametrize(
    ("options", "name"), [({}, "*/costs.json"), ({"seconds": 0.02}, "budget.json")]
)
def test_a_digest_whose_name_has_changed_is_told(small, options, name):
    """Costs and budget are then measured again."""
    config = replace(small, layers=("gru",), **options)
    compare(config, quiet=True)
    (path,) = config.folder.glob(name)
    path.write_bytes(path.read_bytes().replace(b'"sha256"', b'"sha257"'))
    compare(config, quiet=True)
    assert b"sha257" not in path.read_bytes()


def test_a_budget_in_tokens_is_converted_into_steps(small):
    config = replace(small, tokens=5 * 32 * 16)  # batches of 32 sequences of 16
    assert config.training(config.task, "gru", 1e-3, 0, config.steps).steps == 5


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*compare\.json"):
        report(ReportConfig(tmp_path), quiet=True)
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(DataError, match="expected a comparison of format"):
        report(ReportConfig(tmp_path), quiet=True)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_that_cannot_be_made_is_said(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RamgruError, match=r"cannot make the folder .*file"):
        compare(replace(small, out=tmp_path / "file" / "compare"), quiet=True)


def test_layers_differ_in_their_model_alone(small):
    ours, theirs = (small.training(small.task, layer, 1e-3, 2, 9) for layer in ("ramgru", "gru"))
    assert replace(theirs, model=ours.model) == ours
    assert run_name(ours, small.effort) != run_name(theirs, small.effort)
    assert run_name(theirs, small.effort).startswith("mqar-gru-lr0.001-seed2-")


@pytest.mark.parametrize("layer", ["lstm", "deltanet"])
def test_peers_have_as_many_parameters(small, layer):
    config = replace(small, equal="parameters", model=ModelConfig(d_model=32))
    ours = count_parameters(build_model(config.model, config.task))
    theirs = count_parameters(build_model(config.model_of(layer, config.task), config.task))
    assert abs(theirs - ours) / ours < 0.05


def test_defaults_train_mqar_on_16_pairs_and_test_1024():
    config = CompareConfig()
    assert (config.task.name, config.task.pairs, config.task.length) == ("mqar", 16, 64)
    assert dict(config.task.grid()[-1].axes) == {"pairs": 1024, "length": 4096}
    assert config.layers == ("ramgru", "gru", "mingru")
    assert str(config.folder) == "runs/compare-mqar"
    assert sized("mqar", pairs=8).pairs == 8


def test_levers_change_one_option_of_the_network_at_a_time(small):
    config = replace(small, levers=True, model=ModelConfig())
    assert set(config.groups) == set(LEVERS)
    first, *others = config.contenders
    assert first == "ramgru"
    assert {"ramgru,gate_bias=-3.0", "ramgru,cells=16", "ramgru,controller=mingru"} < set(others)
    start = config.model_of(first, config.task).resolved()[0]
    for layer in others:
        made = config.model_of(layer, config.task).resolved()[0]
        known = {**start.memory.to_dict(), "controller": start.controller}
        other = {**made.memory.to_dict(), "controller": made.controller}
        changed = {name for name in known if known[name] != other[name]}
        assert changed == {layer.partition(",")[2].partition("=")[0]}
    wide = replace(config, widths=(16, 32))
    assert set(wide.contenders) == {f"{c},d_model={w}" for c in config.contenders for w in (16, 32)}


def test_levers_are_reported_lever_by_lever(small, monkeypatch):
    few = {"gates": ("Open?", {"gate_bias": (1.0,)}), "cells": ("How many?", {"cells": (16,)})}
    monkeypatch.setattr("ramgru.lab.compare.levers.LEVERS", few)
    model = replace(small.model, memory=replace(small.model.memory, cells=64))
    path = compare(replace(small, levers=True, model=model), quiet=True)
    results = only(small)
    assert results.groups == {
        "gates": ["ramgru", "ramgru,gate_bias=1.0"],
        "cells": ["ramgru", "ramgru,cells=16"],
    }
    text = path.read_text(encoding="utf-8")
    for phrase in ("Gates: Open?", "Cells: How many?", "touched", "bits / state byte"):
        assert phrase in text
    # Rows of 8 numbers of 4 bytes and a tag; a written cell is read and written back.
    cells = 4 * (2 * 2 + 2) + 4 * (2 * 4 + 16) + (2 * 1 + 2) + 2 * (2 * 2 + 2)
    assert results.mean("ramgru", "touched_bytes") == 4 * (8 + 8) * cells
    assert results.mean("ramgru", "bits") >= 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ()}, "layers: expected at least one entry"),
        ({"layers": ("gru", "gru")}, "layers: expected different entries"),
        ({"layers": ("gur",)}, "layer must be one of ramgru, gru, .*, got 'gur'"),
        ({"seeds": (-1,)}, "seeds: expected at least 0"),
        ({"lr": (0.0,)}, "lr: expected positive rates"),
        ({"also": ("mqar,pairs=2",)}, "tasks: expected different names, got mqar, mqar"),
        ({"also": ("parity,pairs=2",)}, "task parity has no option 'pairs'"),
        ({"tokens": 9, "seconds": 9.0}, "expected seconds or tokens, got both"),
        ({"steps": 0}, "steps: expected at least 1, got 0"),
        ({"seconds": -1.0}, "seconds: expected at least 0"),
        ({"model": ModelConfig(layer="gru")}, "model.layer: expected 'ramgru', got 'gru'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        CompareConfig(**options)


OWN = """
import torch
from torch import nn

class MyLayer(nn.GRU):
    def __init__(self, d_model: int, *, layers: int = 1):
        super().__init__(d_model, d_model, layers, batch_first=True)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The name of a layer in a module of the current directory that is not imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield f"{name}:MyLayer"
    sys.modules.pop(name, None)


def test_two_tasks_and_a_layer_of_ones_own_by_two_processes_and_again(small, own, capsys):
    """A layer of one's own is among them; the rate that diverges is not chosen."""
    config = replace(
        small,
        also=("parity,length=5",),
        layers=(f"{own},layers=2",),
        widths=(8,),
        lr=(1e-2, 1e-12),
        steps=8,
        jobs=2,
    )
    path = compare(config)
    whole = from_json((config.folder / "compare.json").read_text(encoding="utf-8"))
    assert [task.task for task in whole.tasks] == ["mqar", "parity"]
    contenders = [f"{own},layers=2,d_model=8"]
    assert whole.layers == contenders
    for task in whole.tasks:
        assert [run.layer for run in task.runs] == contenders
        assert {run.lr for run in task.runs} == {1e-2}
        assert {trial.given_up for trial in task.tried if not trial.chosen} == {True}
        assert [run.state_bytes for run in task.runs] == [4 * 2 * 8]
    assert "mean over 2 tasks" in capsys.readouterr().out
    text = path.read_text(encoding="utf-8")
    assert "Leaderboard" in text

    before = stamps(config.folder)
    compare(config, quiet=True)
    assert stamps(config.folder) == before
    assert path.read_text(encoding="utf-8") == text

    run = config.folder / whole.tasks[0].of(contenders[-1])[0].name
    load_run(run)
    del sys.modules[own.partition(":")[0]]  # nothing that a file names is imported
    with pytest.raises(CheckpointError, match="name it yourself"):
        load_run(run)


def test_a_layer_that_cannot_be_imported_is_named(small):
    for layer, message in (
        ("nowhere:Layer", "layer nowhere:Layer: cannot import it: No module named 'nowhere'"),
        ("torch.nn:Nothing", "cannot import it: .*has no attribute 'Nothing'"),
    ):
        with pytest.raises(RamgruError, match=message):
            compare(replace(small, layers=(layer,)), quiet=True)


def test_layers_of_equal_state_stay_within_the_bytes(small):
    model = replace(small.model, memory=Memory(heads="key", tag=0))
    layers = ("ramgru", "gru")
    config = replace(small, model=model, layers=layers, equal="state", state_bytes=1024)
    compare(config, quiet=True)
    sizes = {run.layer: run.state_bytes for run in only(config).runs}
    assert 256 < sizes["ramgru"] <= 1024
    assert sizes["gru"] == 1024


def test_a_rate_behind_is_pruned_and_the_choice_is_made_again_from_the_logs(small):
    """The first rate learns nothing; the second overtakes it; the third falls behind the second."""
    trainings = [small.training(small.task, "gru", lr, 0, 40) for lr in (1e-9, 3e-2, 1e-8)]
    tuned = tune(trainings, small.effort, small.folder, 0.0)
    assert (tuned.lr, tuned.steps) == (3e-2, 40)
    assert [(rate.given_up, rate.step, rate.chosen) for rate in tuned.rates] == [
        (False, 40, False),
        (False, 40, True),
        (True, 10, False),
    ]
    before = stamps(small.folder)
    assert tune(trainings, small.effort, small.folder, 0.0) == tuned
    assert stamps(small.folder) == before
    first = tune(trainings[2:], small.effort, small.folder, 0.0)  # nothing to compare it with
    assert first.lr == 1e-8


def test_a_rate_that_diverges_is_not_chosen(small):
    trainings = [small.training(small.task, "gru", lr, 0, 20) for lr in (1e30, 1e-3)]
    trainings = [replace(training, warmup=0, clip=0.0) for training in trainings]
    tuned = tune(trainings, small.effort, small.folder, 0.0)
    assert tuned.lr == 1e-3
    with pytest.raises(RamgruError, match="no learning rate among"):
        tune([trainings[0], replace(trainings[0], lr=2e30)], small.effort, small.folder, 0.0)
