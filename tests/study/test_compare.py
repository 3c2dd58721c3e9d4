import json
from dataclasses import replace

import pytest
import torch

from ramgru.errors import DataError, RamgruError
from ramgru.study import CompareConfig, ReportConfig, compare, report
from ramgru.study.config import sized
from ramgru.study.results import from_json
from ramgru.study.runs import finished, run_name
from ramgru.train import ModelConfig, build_model, count_parameters
from ramgru.train.build import LAYERS


@pytest.fixture(autouse=True)
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def stamps(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/log.jsonl")}


def test_layers_are_trained_evaluated_and_reported(small):
    path = compare(small, quiet=True)
    assert path == small.folder / "report.html"
    results = from_json((small.folder / "compare.json").read_text(encoding="utf-8"))
    assert results.layers == ["gru", "mingru"]
    assert [run.steps for run in results.runs] == [6, 6]
    assert results.trained == {"pairs": 2, "length": 16}
    assert [row.axes for row in results.runs[0].rows] == [
        dict(point.axes) for point in small.task.grid()
    ]
    assert all(finished(small.folder / run.name) for run in results.runs)
    assert results.runs[0].curve.metric_steps == [6]
    assert (small.folder / "compare.csv").read_text().count("\n") == 1 + 2 * len(small.task.grid())
    assert "nn.GRU beside minGRU on mqar" in path.read_text(encoding="utf-8")


def test_finished_runs_are_reused_only_if_equal(small):
    compare(small, quiet=True)
    before = stamps(small.folder)
    path = small.folder / "report.html"
    path.unlink()
    compare(small, quiet=True)
    assert path.exists()
    assert stamps(small.folder) == before
    compare(replace(small, steps=7, layers=("gru",)), quiet=True)
    after = stamps(small.folder)
    assert len(after) == 3
    assert {name: after[name] for name in before} == before


def test_a_run_that_was_killed_is_gone_on_with(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    first = from_json((one.folder / "compare.json").read_text())
    folder = one.folder / first.runs[0].name
    # what a kill after the last checkpoint leaves: no model, no evaluation, no end in the log
    (folder / "evaluation.json").unlink()
    (folder / "model" / "model.safetensors").unlink()
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:-1]))
    assert not finished(folder)
    compare(one, quiet=True)
    again = from_json((one.folder / "compare.json").read_text())
    assert finished(folder)
    assert again.runs[0].rows == first.runs[0].rows


def test_strong_peers_are_compared_alike(small):
    config = replace(small, layers=("attention", "gated_deltanet"), gated_deltanet_lr=(5e-3,))
    path = compare(config, quiet=True)
    results = from_json((config.folder / "compare.json").read_text(encoding="utf-8"))
    assert [(run.layer, run.lr) for run in results.runs] == [
        ("attention", 3e-3),
        ("gated_deltanet", 5e-3),
    ]
    assert "Attention beside Gated DeltaNet on mqar" in path.read_text(encoding="utf-8")


def test_an_evaluation_of_other_sizes_is_made_again(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    folder = one.folder / from_json((one.folder / "compare.json").read_text()).runs[0].name
    whole = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**whole, "rows": whole["rows"][:1]}))
    compare(one, quiet=True)
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == whole["rows"]


def test_a_directory_that_holds_another_run_is_not_touched(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    folder = one.folder / from_json((one.folder / "compare.json").read_text()).runs[0].name
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "steps": 5}))
    with pytest.raises(RamgruError, match="holds a run with other options than its name says"):
        compare(one, quiet=True)


def test_of_several_rates_the_best_is_reported_and_seeds_have_an_interval(small):
    config = replace(small, layers=("gru",), gru_lr=(1e-9, 3e-2), seeds=(0, 1), steps=30)
    compare(config, quiet=True)
    results = from_json((config.folder / "compare.json").read_text())
    assert [(trial.lr, trial.chosen) for trial in results.tried].count((3e-2, True)) == 1
    assert {run.lr for run in results.runs} == {3e-2}
    assert [run.seed for run in results.runs] == [0, 1]
    assert len(list(config.folder.glob("gru-lr*"))) == 3  # two rates, and one more seed
    low = results.score("gru", {"pairs": 2, "length": 16}).low
    assert low is not None


def test_a_budget_in_seconds_is_counted_out_in_steps_and_kept(small):
    config = replace(small, layers=("gru",), seconds=0.02)
    compare(config, quiet=True)
    kept = json.loads((config.folder / "budget.json").read_text())
    (steps,) = kept.values()
    results = from_json((config.folder / "compare.json").read_text())
    assert results.runs[0].steps == steps >= 1
    before = stamps(config.folder)
    compare(config, quiet=True)
    assert stamps(config.folder) == before


def test_a_report_is_drawn_again_without_training(small):
    path = compare(small, quiet=True)
    drawn = path.read_text(encoding="utf-8")
    path.unlink()
    assert report(ReportConfig(small.folder), quiet=True) == path
    assert path.read_text(encoding="utf-8") == drawn
    other = report(ReportConfig(small.folder / "compare.json", small.folder / "b.html"), quiet=True)
    assert other.read_text(encoding="utf-8") == drawn


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*compare\.json"):
        report(ReportConfig(tmp_path), quiet=True)
    (tmp_path / "compare.json").write_text("{}")
    with pytest.raises(DataError, match="must hold a comparison of format"):
        report(ReportConfig(tmp_path), quiet=True)
    assert not (tmp_path / "report.html").exists()


def test_the_table_and_the_path_are_printed(small, capsys):
    path = compare(replace(small, layers=("gru",)))
    printed = capsys.readouterr().out
    assert "nn.GRU · lr 0.003 · seed 0" in printed
    assert "chance" in printed
    assert printed.splitlines()[-1] == f"report: {path}"


def test_a_folder_that_cannot_be_made_is_said(small, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RamgruError, match=r"cannot make the folder .*file"):
        compare(replace(small, out=tmp_path / "file" / "compare"), quiet=True)


def test_layers_differ_in_their_model_alone(small):
    ours, theirs = (small.training(layer, 1e-3, 2, 9) for layer in ("ramgru", "gru"))
    assert replace(theirs, model=ours.model) == ours
    assert run_name(ours, small.effort) != run_name(theirs, small.effort)
    assert run_name(theirs, small.effort).startswith("gru-lr0.001-seed2-")


@pytest.mark.parametrize("layer", LAYERS[1:])
def test_peers_have_as_many_parameters(small, layer):
    config = replace(small, equal_parameters=True, model=ModelConfig(d_model=32))
    ours = count_parameters(build_model(config.model, config.task))
    theirs = count_parameters(build_model(config.model_of(layer), config.task))
    assert abs(theirs - ours) / ours < 0.05


def test_defaults_train_mqar_on_16_pairs_and_test_1024():
    config = CompareConfig()
    assert (config.task.name, config.task.pairs, config.task.length) == ("mqar", 16, 64)
    assert dict(config.task.grid()[-1].axes) == {"pairs": 1024, "length": 4096}
    assert config.layers == ("ramgru", "gru", "mingru")
    assert str(config.folder) == "runs/compare-mqar"
    assert sized("mqar", pairs=8).pairs == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ()}, "layers must hold at least one entry"),
        ({"layers": ("gru", "gru")}, "layers must not hold an entry twice"),
        ({"layers": ("lstm",)}, "layers must be among ramgru, gru, .*, got 'lstm'"),
        ({"seeds": (-1,)}, "seeds must not be negative"),
        ({"gru_lr": (0.0,)}, "gru_lr must hold positive rates"),
        ({"attention_lr": ()}, "attention_lr must hold at least one entry"),
        ({"gated_deltanet_lr": (-1.0,)}, "gated_deltanet_lr must hold positive rates"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seconds": -1.0}, "seconds must not be negative"),
        ({"model": ModelConfig(layer="gru")}, "model describes the RAM-GRU, got layer 'gru'"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_options_that_make_no_sense_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        CompareConfig(**options)
