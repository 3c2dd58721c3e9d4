"""The interactive view: its data are the traces' own numbers."""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ramgru.config import Memory
from ramgru.errors import CheckpointError, DataError
from ramgru.lab import tasks
from ramgru.lab.show.example import FROM_FILE, draw, parse, read
from ramgru.lab.show.history import moments, rival_of
from ramgru.lab.show.inspect import InspectConfig, inspect
from ramgru.lab.show.live import Live
from ramgru.lab.show.story import SOURCES, Moment, tell
from ramgru.lab.show.view import look, trace_model
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, load_run, train
from ramgru.lab.train.snapshots import kept
from ramgru.lab.train.snapshots import moments as kept_after

TASK = tasks.get("mqar", vocab_size=32, pairs=4, length=32)
MODEL = ModelConfig(d_model=16, memory=Memory(cells=64, heads="key learned lag tape", writes=2))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """runs/: a RAM-GRU and an nn.GRU of one task, and an nn.GRU of another."""
    root = tmp_path_factory.mktemp("live") / "runs"
    threads = torch.get_num_threads()
    config = TrainConfig(
        task=TASK, model=MODEL, steps=8, batch_size=4, evaluate_examples=4, threads=1, device="cpu"
    )
    train(replace(config, out=root / "ours"), quiet=True)
    gru = replace(MODEL, layer="gru")
    train(replace(config, model=gru, out=root / "gru", steps=2), quiet=True)
    other = tasks.get("parity", length=8)
    train(replace(config, model=gru, task=other, out=root / "other", steps=1), quiet=True)
    torch.set_num_threads(threads)
    return root


@pytest.fixture(scope="module")
def story():
    torch.manual_seed(0)
    model = build_model(MODEL, TASK).eval()
    example = draw(TASK, 1)
    ranking = look(model, TASK, example).ranking
    return model, example, ranking, tell(TASK, example, [Moment(3, lambda: model)], ranking)


def test_weights_gates_and_cells_are_the_traces_own(story):
    model, example, ranking, told = story
    traces = trace_model(model, torch.from_numpy(example.inputs)[None])
    assert len(told["heads"]) == 6
    for head, seen in zip(told["heads"], told["moments"][0]["seen"], strict=True):
        trace, h = traces[head["block"]], head["head"]
        exact = trace.provenance(h)[0].numpy()
        assert head["kind"] == ("key", "learned", "lag", "tape")[h]
        gate = trace.write_gate[0, :, h].amax(-1).tolist()
        assert seen["gate"] == pytest.approx(gate, abs=6e-4)
        for n, question in enumerate(example.questions):
            weights = exact[question.step]
            steps, shown = seen["from"][n][::2], seen["from"][n][1::2]
            assert shown == pytest.approx(weights[steps].tolist(), abs=6e-5)
            assert len(steps) <= SOURCES
            largest = np.sort(weights)[::-1][: len(shown)]
            assert shown == pytest.approx(largest.tolist(), abs=6e-5)
            assert seen["all"][n] == pytest.approx(weights.sum(), abs=6e-5)
            touched = set(trace.read_index[0, question.step, h].tolist())
            assert set(seen["read"][n][::2]) <= touched
        for t, cells in enumerate(seen["write"]):
            assert set(cells) <= set(trace.write_index[0, t, h].tolist())


def test_answers_are_the_models_own_with_the_probability_of_the_right_one(story):
    model, example, _, told = story
    logits = model(torch.from_numpy(example.inputs)[None])[0].detach()
    (moment,) = told["moments"]
    for n, question in enumerate(example.questions):
        row = logits[question.step]
        assert moment["said"][n] == str(int(row.argmax()))
        p = float(row.softmax(-1)[question.expected])
        assert moment["sure"][n] == pytest.approx(p, abs=6e-5)
        assert told["right"][n] == str(question.expected)
        assert told["targets"][n] == [question.written]


def test_heads_come_in_the_order_of_their_use(story):
    model, example, ranking, told = story
    traces = trace_model(model, torch.from_numpy(example.inputs)[None])
    met = [
        sum(float(traces[b].provenance(h)[0, q.step, q.written]) for q in example.questions)
        for b, h in ranking
    ]
    assert met == sorted(met, reverse=True)
    assert [(h["block"], h["head"]) for h in told["heads"]] == list(ranking[:6])


def test_a_run_keeps_its_weights_at_halves(root):
    assert sorted(kept_after(500, 4)) == [31, 62, 125, 250]
    assert kept_after(8, 0) == frozenset()
    assert list(kept(root / "ours")) == [1, 2, 4]


def test_moments_are_the_runs_own_weights(root):
    """The untrained model, the snapshots and the trained one; each later one fits better."""
    config, task, trained = load_run(root / "ours")
    found = moments(root / "ours", config, trained)
    assert [moment.step for moment in found] == [0, 1, 2, 4, 8]
    torch.manual_seed(config.seed)
    fresh = build_model(config.model, task)
    weights = [moment.load().state_dict() for moment in found]
    for name, value in fresh.state_dict().items():
        assert torch.equal(weights[0][name], value)
        assert torch.equal(weights[-1][name], trained.state_dict()[name])
    assert all(
        any(not torch.equal(a[name], b[name]) for name in a) for a, b in itertools.pairwise(weights)
    )


def test_the_rival_is_the_gru_of_the_same_task(root, tmp_path):
    config, _, _ = load_run(root / "ours")
    name, model = rival_of(root / "ours", config)
    assert name == "nn.GRU"
    assert type(model.layers[0]).__name__ == "GRU"
    assert rival_of(tmp_path / "alone", config) is None
    with pytest.raises(ValueError, match="beside: expected a run of the same task"):
        rival_of(root / "ours", config, root / "other")
    with pytest.raises(CheckpointError):
        rival_of(root / "ours", config, tmp_path)


def test_a_text_is_asked_at_every_character(tmp_path):
    (tmp_path / "t.txt").write_text("error 17 </script> " * 40)
    task = tasks.get("text", path=str(tmp_path / "t.txt"), length=16)
    example = read(task, tmp_path / "t.txt")
    assert len(example.inputs) == FROM_FILE
    torch.manual_seed(0)
    model = build_model(MODEL, task).eval()
    short = parse(task, "error 17 </script> error")
    ranking = look(model, task, short).ranking
    told = tell(task, short, [Moment(0, lambda: model)], ranking)
    assert told["next"] is True
    assert told["steps"] == list(range(24))
    assert told["targets"][1] == [t for t, c in enumerate("er") if c == "r"]
    page = Live(told).html("x")
    assert page.count("</script>") == 1  # the text does not end the data
    data = re.search(r'json">(.*)</script>', page)
    assert json.loads(data[1]) == told


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "x").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match="cannot read"):
        read(TASK, tmp_path / "x")
    with pytest.raises(ValueError, match="give input or file"):
        InspectConfig(input="1", file=tmp_path / "x")


def test_a_series_is_typed_as_numbers():
    task = tasks.get("feature_recall")
    if not task.classes:
        pytest.skip("the task answers in bits")
    row = ",".join(["0.5"] * task.features)
    assert parse(task, f"{row} {row}").inputs.shape == (2, task.features)
    with pytest.raises(ValueError, match="numbers a step with commas"):
        parse(task, "0.5")


@pytest.fixture(scope="module")
def page(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("page") / "page.html"
    return inspect(InspectConfig(root / "ours", out=out), quiet=True)


def test_the_page_names_its_finding_and_loads_nothing(page, parsed):
    text = page.read_text(encoding="utf-8")
    seen = parsed(text)
    assert re.search(r"RAM-GRU answers \d of 4 right, nn\.GRU \d", seen.words)
    assert not [a for a in seen.all("script") if a.get("src")]
    assert not seen.all("link")
    ids = {a["id"] for _, a in seen.elements if "id" in a}
    assert {a["for"] for a in seen.all("label")} <= ids
    outside = re.sub(r"http://www\.w3\.org/2000/svg", "", text)
    assert not re.search(r"https?:", outside)
