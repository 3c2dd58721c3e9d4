import json
import sys
from dataclasses import replace

import pytest
import torch

from ramgru.errors import CheckpointError, DataError, RamgruError
from ramgru.lab.compare import CompareConfig, ReportConfig, compare, report
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.results import from_json
from ramgru.lab.compare.runs import finished, run_name
from ramgru.lab.compare.tuning import tune
from ramgru.lab.train import ModelConfig, build_model, count_parameters, load_run
from ramgru.lab.train.build import LAYERS


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


def test_layers_are_trained_evaluated_and_reported(small):
    path = compare(small, quiet=True)
    assert path == small.folder / "report.html"
    results = only(small)
    assert results.layers == ["gru", "mingru"]
    assert [run.steps for run in results.runs] == [6, 6]
    assert results.trained == {"pairs": 2, "length": 16}
    assert [row.axes for row in results.runs[0].rows] == [
        dict(point.axes) for point in small.task.grid()
    ]
    assert all(finished(small.folder / run.name) for run in results.runs)
    assert results.runs[0].curve.metric_steps == [1, 2, 3, 4, 5, 6]
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
    first = only(one)
    folder = one.folder / first.runs[0].name
    # what a kill after the last checkpoint leaves: no model, no evaluation, no end in the log
    (folder / "evaluation.json").unlink()
    (folder / "model" / "model.safetensors").unlink()
    lines = (folder / "log.jsonl").read_text().splitlines(keepends=True)
    (folder / "log.jsonl").write_text("".join(lines[:-1]))
    assert not finished(folder)
    compare(one, quiet=True)
    again = only(one)
    assert finished(folder)
    assert again.runs[0].rows == first.runs[0].rows


def test_strong_peers_are_compared_alike(small):
    config = replace(small, layers=("attention", "gated_deltanet"), lr=(5e-3,))
    path = compare(config, quiet=True)
    results = only(config)
    assert [(run.layer, run.lr) for run in results.runs] == [
        ("attention", 5e-3),
        ("gated_deltanet", 5e-3),
    ]
    assert "Attention beside Gated DeltaNet on mqar" in path.read_text(encoding="utf-8")


def test_an_evaluation_of_other_sizes_is_made_again(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    folder = one.folder / only(one).runs[0].name
    whole = json.loads((folder / "evaluation.json").read_text())
    (folder / "evaluation.json").write_text(json.dumps({**whole, "rows": whole["rows"][:1]}))
    compare(one, quiet=True)
    assert json.loads((folder / "evaluation.json").read_text())["rows"] == whole["rows"]


def test_a_directory_that_holds_another_run_is_not_touched(small):
    one = replace(small, layers=("gru",))
    compare(one, quiet=True)
    folder = one.folder / only(one).runs[0].name
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "steps": 5}))
    with pytest.raises(RamgruError, match="holds a run with other options than its name says"):
        compare(one, quiet=True)


def test_of_several_rates_the_best_is_reported_and_seeds_have_an_interval(small):
    config = replace(small, layers=("gru",), lr=(1e-9, 3e-2), seeds=(0, 1), steps=30)
    compare(config, quiet=True)
    results = only(config)
    assert [(trial.lr, trial.chosen) for trial in results.tried].count((3e-2, True)) == 1
    assert {run.lr for run in results.runs} == {3e-2}
    assert [run.seed for run in results.runs] == [0, 1]
    assert len(list(config.folder.glob("mqar-gru-lr*"))) == 3  # two rates, and one more seed
    low = results.score("gru", {"pairs": 2, "length": 16}).low
    assert low is not None


def test_a_budget_in_seconds_is_counted_out_in_steps_and_kept(small):
    config = replace(small, layers=("gru",), seconds=0.02)
    compare(config, quiet=True)
    kept = json.loads((config.folder / "budget.json").read_text())
    (steps,) = kept.values()
    results = only(config)
    assert results.runs[0].steps == steps >= 1
    before = stamps(config.folder)
    compare(config, quiet=True)
    assert stamps(config.folder) == before


def test_a_budget_in_tokens_is_counted_out_in_steps(small):
    config = replace(small, tokens=5 * 4 * 16)  # batches of 4 sequences of 16
    assert config.training(config.task, "gru", 1e-3, 0, config.steps).steps == 5


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
    ours, theirs = (small.training(small.task, layer, 1e-3, 2, 9) for layer in ("ramgru", "gru"))
    assert replace(theirs, model=ours.model) == ours
    assert run_name(ours, small.effort) != run_name(theirs, small.effort)
    assert run_name(theirs, small.effort).startswith("mqar-gru-lr0.001-seed2-")


@pytest.mark.parametrize("layer", LAYERS[1:])
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


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": ()}, "layers must hold at least one entry"),
        ({"layers": ("gru", "gru")}, "layers must not hold an entry twice"),
        ({"layers": ("gur",)}, "layer must be one of ramgru, gru, .*, got 'gur'"),
        ({"seeds": (-1,)}, "seeds must not be negative"),
        ({"lr": (0.0,)}, "lr must hold positive rates"),
        ({"lr": ()}, "lr must hold at least one entry"),
        ({"also": ("mqar,pairs=2",)}, "tasks must not be of one name, got mqar, mqar"),
        ({"also": ("parity,pairs=2",)}, "task parity has no option 'pairs'"),
        ({"tokens": 9, "seconds": 9.0}, "give seconds or tokens, not both"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"seconds": -1.0}, "seconds must not be negative"),
        ({"model": ModelConfig(layer="gru")}, "model describes the RAM-GRU, got layer 'gru'"),
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
    """The name of a layer in a module of the current directory, which nobody imported yet."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", list(sys.path))
    name = f"own_{tmp_path.name.replace('-', '_')}"
    (tmp_path / f"{name}.py").write_text(OWN)
    yield f"{name}:MyLayer"
    sys.modules.pop(name, None)


def test_tasks_layers_widths_and_seeds_side_by_side_and_again(small, own, capsys):
    """Two processes; a layer of one's own; of two rates the one that diverges is not taken."""
    config = replace(
        small,
        also=("parity,length=5",),
        layers=("gru", f"{own},layers=2"),
        widths=(4, 8),
        lr=(1e-2, 1e-12),
        seeds=(0, 1),
        steps=8,
        jobs=2,
    )
    path = compare(config)
    whole = from_json((config.folder / "compare.json").read_text(encoding="utf-8"))
    assert [task.task for task in whole.tasks] == ["mqar", "parity"]
    contenders = [f"{layer},d_model={width}" for layer in config.layers for width in (4, 8)]
    assert whole.layers == contenders
    for task in whole.tasks:
        found = [(run.task, run.layer, run.seed) for run in task.runs]
        assert sorted(found) == sorted((task.task, c, s) for c in contenders for s in (0, 1))
        assert {run.lr for run in task.runs} == {1e-2}
        assert {trial.given_up for trial in task.tried if not trial.chosen} == {True}
        assert all(run.state_bytes == 4 * 4 for run in task.of("gru,d_model=4"))
        assert all(run.state_bytes == 4 * 2 * 8 for run in task.of(f"{own},layers=2,d_model=8"))
    printed = capsys.readouterr().out
    assert "mean over 2 tasks" in printed
    text = path.read_text(encoding="utf-8")
    assert "Leaderboard" in text

    before = stamps(config.folder)
    compare(config, quiet=True)
    assert stamps(config.folder) == before
    assert path.read_text(encoding="utf-8") == text


def test_a_layer_of_ones_own_is_imported_only_where_it_is_asked_for(small, own):
    config = replace(small, layers=(own,))
    compare(config, quiet=True)
    run = config.folder / only(config).runs[0].name
    load_run(run)
    del sys.modules[own.partition(":")[0]]
    with pytest.raises(CheckpointError, match="nothing that a file names is executed"):
        load_run(run)


def test_a_layer_that_cannot_be_imported_is_named(small):
    for layer, message in (
        ("nowhere:Layer", "layer nowhere:Layer: cannot import it: No module named 'nowhere'"),
        ("torch.nn:Nothing", "cannot import it: .*has no attribute 'Nothing'"),
        ("torch:add", "expected a class of torch.nn.Module"),
    ):
        with pytest.raises(RamgruError, match=message):
            compare(replace(small, layers=(layer,)), quiet=True)


def test_layers_of_equal_state_have_what_may_be(small):
    config = replace(small, layers=("ramgru", "gru"), equal="state", state_bytes=4096)
    compare(config, quiet=True)
    sizes = {run.layer: run.state_bytes for run in only(config).runs}
    assert 1024 < sizes["ramgru"] <= 4096
    assert sizes["gru"] == 4096


def test_a_rate_behind_is_given_up_and_the_choice_is_made_again_from_the_logs(small):
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


def test_a_rate_that_diverges_is_not_taken(small):
    trainings = [small.training(small.task, "gru", lr, 0, 20) for lr in (1e30, 1e-3)]
    trainings = [replace(training, warmup=0, clip=0.0) for training in trainings]
    tuned = tune(trainings, small.effort, small.folder, 0.0)
    assert tuned.lr == 1e-3
    with pytest.raises(RamgruError, match="no learning rate among"):
        tune([trainings[0], replace(trainings[0], lr=2e30)], small.effort, small.folder, 0.0)
