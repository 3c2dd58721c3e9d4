"""The study of state bytes: its task, its count of multiplications, its page from end to end."""

from __future__ import annotations

import importlib
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ramgru.errors import DataError
from ramgru.kernels import native
from ramgru.lab.evaluate import Effort
from ramgru.lab.peers import gated_delta_rule
from ramgru.lab.show.data import Score
from ramgru.lab.tasks import MQAR, registry
from ramgru.lab.train.build import build_model


@pytest.fixture(scope="module")
def bench():
    """The benchmark's modules by name; what importing them changes is undone afterwards."""
    names = ("recall_mixture", "step_cost", "state_bytes_results", "state_bytes_page")
    known = dict(registry.TASKS)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        found = {name: importlib.import_module(name) for name in (*names, "state_bytes")}
        yield type("Bench", (), found)
    registry.TASKS.clear()
    registry.TASKS.update(known)
    for name in found:
        del sys.modules[name]


def test_batches_have_the_sizes_of_the_mixture_in_their_shares(bench):
    task = bench.recall_mixture.RecallMixture(vocab_size=512)
    sizes = []
    for seed in range(360):
        batch = task.draw(2, seed)
        pairs = {int(n) for n in (batch.labels >= 0).sum(1)}
        assert len(pairs) == 1
        sizes.append((*pairs, batch.inputs.shape[1]))
    assert set(sizes) == set(bench.recall_mixture.TRAINED)
    assert 0.45 < sizes.count((4, 64)) / len(sizes) < 0.66  # 5 of 9
    assert 0.05 < sizes.count((64, 256)) / len(sizes) < 0.18  # 1 of 9
    again = task.draw(2, seed)
    np.testing.assert_array_equal(again.inputs, batch.inputs)


def test_sweep_has_zoologys_seven_sizes_and_fewer_where_asked(bench):
    make = bench.recall_mixture.RecallMixture
    sizes = [tuple(point.axes.values()) for point in make().grid()]
    assert sizes == [(4, 64), (8, 64), (16, 64), (32, 128), (64, 256), (128, 512), (256, 1024)]
    small = make(vocab_size=64, trained=4, tested=8)
    assert [point.axes["pairs"] for point in small.grid()] == [4, 8]
    assert all(small.draw(1, seed).inputs.shape == (1, 64) for seed in range(20))
    assert small.chance == MQAR(vocab_size=64).chance
    with pytest.raises(ValueError, match="trained must be at least 4, got 2"):
        make(trained=2)


def products(run) -> int:
    """Multiplications inside products of matrices, as torch counts them."""
    with torch.no_grad(), native.use(native.PORTABLE), FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2


@pytest.mark.parametrize("cells", [16, 4096, 65536])
def test_ram_gru_multiplies_what_torch_counts(bench, cells):
    task = bench.recall_mixture.RecallMixture(vocab_size=64)
    model = build_model(bench.state_bytes.ram(cells), task)
    cost = bench.step_cost.multiplications(model.layers[0])

    def whole(steps):
        tokens = torch.ones(1, steps, dtype=torch.int64)
        return products(lambda: model.hidden(tokens, carry=False))

    # A sequence makes each address once, a stream, which keeps inputs only, twice.
    once = cost["weights"] + cost["addresses"] // 2
    assert whole(40) - whole(8) == 32 * once * len(model.layers)
    assert cost["state"] == 3 * 4 * 4 * 16
    assert bench.step_cost.model_multiplications(model) == 2 * sum(cost.values())


@pytest.mark.parametrize(("heads", "width"), [(1, 16), (2, 64)])
def test_gated_deltanet_multiplies_what_torch_counts(bench, heads, width):
    task = bench.recall_mixture.RecallMixture(vocab_size=64)
    model = build_model(bench.state_bytes.deltanet(heads, width), task)
    cost = bench.step_cost.multiplications(model.layers[0])
    state = model.initial_state(1)
    counted = products(lambda: model.step(torch.ones(1, dtype=torch.int64), state))
    assert counted == 2 * (cost["weights"] + cost["state"] // 2)  # the others are no such product

    class Elementwise(TorchDispatchMode):
        total = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            result = func(*args, **(kwargs or {}))
            if func is torch.ops.aten.mul.Tensor and result.dim() == 4:
                self.total += result.numel()
            return result

    key, rate = torch.randn(1, heads, width), torch.rand(1, heads)
    memory = torch.randn(1, heads, width, width)
    with Elementwise() as seen:
        gated_delta_rule.step(key, key, key, -rate, rate, memory)
    assert seen.total == cost["state"] // 2


def test_bytes_written_and_touched(bench):
    task = bench.recall_mixture.RecallMixture(vocab_size=64, tested=8)
    ours = build_model(bench.state_bytes.ram(4096), task)
    theirs = build_model(bench.state_bytes.deltanet(1, 16), task)
    batch = task.grid()[0].task.draw(1, seed=0)
    cost = bench.step_cost
    rest = 4 * (ours.state_size - 2 * 4 * 4096 * 16)  # hidden states and windows
    assert cost.touched_bytes(ours) == rest + 4 * 2 * 4 * 8 * 16
    written = cost.cells_written(ours, batch)
    assert 0 < written <= 2 * 4 * 4 * 64  # layers, heads, cells a step, steps
    assert cost.written_bytes(ours, batch) == rest + 4 * 16 * written
    assert cost.written_bytes(theirs, batch) == cost.touched_bytes(theirs) == 4 * theirs.state_size


def made_up(bench, layer, name, size, multiplications, mean, half=0.01):
    score = Score(mean, mean - half, mean + half)
    return bench.state_bytes_results.Point(
        layer, name, 1000, size, size, size, multiplications, {"0.01": mean}, 0.01, score,
        {"4": score, "256": Score(mean / 2)}, 1.0,
    )  # fmt: skip


@pytest.fixture
def results(bench):
    points = [
        made_up(bench, "ramgru", "small", 1000, 50, 0.4),
        made_up(bench, "ramgru", "large", 90_000, 60, 0.9),
        made_up(bench, "gated_deltanet", "a", 600, 40, 0.1),
        made_up(bench, "gated_deltanet", "b", 1500, 59, 0.405),
        made_up(bench, "gated_deltanet", "c", 8000, 70, 0.6),
        made_up(bench, "gated_deltanet", "d", 9000, 80, 0.7),
    ]
    config = asdict(bench.recall_mixture.RecallMixture()) | {
        "steps": 1, "batch_size": 1, "rates": [0.01], "seeds": [0, 1],
    }  # fmt: skip
    return bench.state_bytes_results.Results(points, config, {"processor": "none"})


def test_points_meet_those_of_no_less_compute_and_those_of_near_bytes(results):
    small, large = results.of("ramgru")
    assert results.at_equal_compute(small).name == "b"
    assert results.at_equal_compute(large).name == "c"
    assert results.at_equal_bytes(small).name == "b"
    assert results.at_equal_bytes(large) is None


def test_page_says_who_is_ahead(bench, results, tmp_path):
    page = bench.state_bytes_page.write(results, tmp_path).read_text(encoding="utf-8")
    assert (
        "At equal compute a step: RAM-GRU is ahead in 1 of 2 pairs, in 1 of them beyond the "
        "intervals; Gated DeltaNet is ahead in 1 of 2 pairs, in 0 of them beyond the intervals. "
        "At equal bytes of state: RAM-GRU is ahead in 0 of 1 pairs; Gated DeltaNet is ahead in 1 "
        "of 1 pairs, in 0 of them beyond the intervals."
    ) in page
    assert "| b | 59 | 40.5 % (39.5 % – 41.5 %) | Gated DeltaNet, within the intervals |" in page
    assert "| large | 87.9 KiB | 90.0 % (89.0 % – 91.0 %) | none |" in page
    picture = (tmp_path / "images" / "state_bytes.svg").read_text(encoding="utf-8")
    assert picture.startswith("<svg")
    assert "RAM-GRU" in picture


def test_results_are_read_as_they_were_written(bench, results, tmp_path):
    path = tmp_path / "data.json"
    read = bench.state_bytes_results.read
    path.write_text(json.dumps(asdict(results)), encoding="utf-8")
    assert read(path) == results
    path.write_text("{}", encoding="utf-8")
    with pytest.raises(DataError, match="holds no study of state bytes"):
        read(path)
    with pytest.raises(DataError, match="train the study first"):
        read(tmp_path / "nothing.json")


def test_study_trains_tunes_and_takes_up_what_is_there(bench, tmp_path, monkeypatch, capsys):
    module = bench.state_bytes
    study = module.Study(
        models={"N = 16": module.ram(16), "16 × 16": module.deltanet(1, 16)},
        task=bench.recall_mixture.RecallMixture(vocab_size=64, trained=4, tested=8),
        rates=(1e-3, 1e-2),
        seeds=(0, 1),
        steps=2,
        batch_size=4,
        effort=Effort(questions=8, examples=2),
        folder=tmp_path / "runs",
    )
    found = module.run_study(study, at_a_time=1)
    assert len(list(study.folder.iterdir())) == 2 * (2 + 1)  # rates, and one more seed
    for point in found.points:
        assert set(point.rates) == {"0.001", "0.01"}
        assert point.rates[f"{point.lr:g}"] == max(point.rates.values())
        sizes = [score.mean for score in point.sizes.values()]
        assert list(point.sizes) == ["4", "8"]
        assert point.mean.mean == pytest.approx(sum(sizes) / 2)
    # Trained again it would fail, and be found out.
    monkeypatch.setattr(
        "ramgru.lab.compare.runs.train", lambda *_, **__: pytest.fail("trained again")
    )
    assert module.run_study(study, at_a_time=1).points == found.points
    assert "16 × 16 · lr 0.01 · seed 0" in capsys.readouterr().out


def test_runs_side_by_side_are_the_same_runs(bench, tmp_path):
    module = bench.state_bytes
    studies = [
        module.Study(
            models={"N = 16": module.ram(16)},
            task=bench.recall_mixture.RecallMixture(vocab_size=64, trained=4, tested=4),
            steps=2,
            batch_size=4,
            effort=Effort(questions=8, examples=2),
            folder=tmp_path / name,
        )
        for name in ("one", "two")
    ]
    jobs = [("N = 16", lr, 0) for lr in (1e-3, 3e-3, 1e-2)]
    one, two = (module.make(study, jobs, n) for study, n in zip(studies, (1, 2)))
    assert set(one) == set(two) == set(jobs)
    for job in jobs:
        assert one[job].rows == two[job].rows
        assert one[job].curve == two[job].curve
