"""A sweep over the grid of a task, with models whose answers are known."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ramgru.lab import tasks
from ramgru.lab.evaluate import Effort, EvaluateConfig, evaluate, measure_at, sweep, wilson
from ramgru.lab.evaluate.table import render, share
from ramgru.lab.tasks import IGNORE, Slice, Task, exact_answers
from ramgru.lab.train import ModelConfig, TrainConfig, build_model, train
from ramgru.sequence import SequenceModel

MQAR = tasks.get("mqar", vocab_size=64, pairs=4, length=64)
EFFORT = Effort(questions=300, examples=4, tokens=1024, max_length=256)


class Lookup(nn.Module):
    """A perfect memory: recalls from a table of the token after each key.

    longest: the most steps in memory at a time, all sequences together
    """

    state_size, state_growth = 7, 0

    def __init__(self, vocab_size: int) -> None:
        super().__init__()
        self.vocab_size, self.longest = vocab_size, 0

    def hidden(self, src: Tensor, state: Any, **ragged: Any) -> tuple[Tensor, Any]:
        B, T = src.shape
        self.longest = max(self.longest, B * T)
        row = torch.arange(B)
        table, before = state or (torch.zeros(B, self.vocab_size).long(), torch.zeros(B).long())
        table, answers = table.clone(), []
        for token in src.T:  # a value is written under the token before it
            table[row, before] = torch.where(
                token >= self.vocab_size // 2, token, table[row, before]
            )
            answers.append(table[row, token])
            before = token
        return nn.functional.one_hot(torch.stack(answers, 1), self.vocab_size), (table, before)

    def head(self, hidden: Tensor) -> Tensor:
        return hidden


def constant(task: Task) -> SequenceModel:
    """A model that always gives the same answer: token 0, or bits 0."""
    model = build_model(ModelConfig(layer="gru", d_model=4, num_layers=1), task)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        if model.readout is not None:
            model.readout.bias.fill_(-1.0)
    return model


def test_perfect_memory_is_perfect_at_every_size():
    """Also if a sequence is longer than the steps allowed in memory at a time."""
    model = Lookup(64)
    found = sweep(model, MQAR, replace(EFFORT, tokens=100))  # type: ignore[arg-type]
    assert [row.axes for row in found.rows] == [
        dict(point.axes) for point in MQAR.grid() if point.axes["length"] <= 256
    ]
    assert all(row.score == row.exact == 1.0 for row in found.rows)
    assert all(row.count >= 300 for row in found.rows)
    assert all((row.low, row.high) == wilson(row.count, row.count) for row in found.rows)
    assert model.longest <= 100
    assert found.state_bytes == 28
    for row in found.rows:  # 32 values
        assert row.bits_held == pytest.approx(row.axes["pairs"] * 5)
        assert row.bits_per_state_byte == pytest.approx(row.axes["pairs"] * 5 / 28)
    assert {group.score for group in found.distance} == {1.0}
    assert sum(group.count for group in found.distance) == sum(row.count for row in found.rows)


def test_distances_double():
    found = sweep(Lookup(64), MQAR, EFFORT)  # type: ignore[arg-type]
    ranges = [(group.name["low"], group.name["high"]) for group in found.distance]
    assert ranges == [(2**i, 2 ** (i + 1) - 1) for i in range(len(ranges))]


def test_guess_in_bits_is_near_chance():
    """A constant bit is right half of the time; whole answers never are."""
    task = tasks.get("copy", bits=8, length=5)
    found = sweep(constant(task), task, replace(EFFORT, questions=4000, max_length=20))
    for row in found.rows:
        assert row.low < task.chance < row.high
        assert row.chance == 0.5
    assert found.metric == "bit accuracy"
    assert found.rows[-1].exact == 0.0
    assert found.rows[0].bits_held is found.rows[0].bits_per_state_byte is None  # no pairs


def test_kinds_of_question_are_told_apart():
    task = tasks.get("programs", registers=2, statements=8)
    found = sweep(constant(task), task, Effort(questions=100, examples=2, max_length=0))
    assert [group.name["kind"] for group in found.kinds] == list(task.kinds)
    written = found.to_dict()["kinds"]
    assert [group["kind"] for group in written] == list(task.kinds)
    assert all({"score", "interval", "answers", "exact"} <= set(group) for group in written)


def test_whole_answers_are_counted_kind_by_kind():
    """With a model that answers only reads, and all of them but the first of each batch."""
    task = tasks.get("programs", registers=2, statements=8)

    class Reads(nn.Module):
        state_size = state_growth = 0

        def hidden(self, src: Tensor, state: Any, **ragged: Any) -> tuple[Tensor, Any]:
            seen.append(drawn.pop(0))
            answer = torch.from_numpy(seen[-1][1])
            return nn.functional.one_hot(answer, task.vocab_size).float(), state

        def head(self, hidden: Tensor) -> Tensor:
            return hidden

    drawn: list[Any] = []
    seen: list[Any] = []
    draw = type(task).draw

    class Noted(type(task)):  # type: ignore[misc]
        def draw(self, batch_size: int, seed: int) -> Any:
            batch = draw(self, batch_size, seed)
            answer = np.where(batch.kind == 0, batch.labels, 0).clip(0)
            row, step = np.argwhere(batch.kind == 0)[0]
            answer[row, step] = 0
            drawn.append((batch, answer))
            return batch

    point = Slice({}, Noted(**task.options()))
    found = measure_at(Reads(), [point], Effort(questions=100, examples=2))  # type: ignore[arg-type]
    counts = [exact_answers(*each) for each in seen]
    of = [np.concatenate([each.kind == kind for each in counts]) for kind in range(3)]
    right = np.concatenate([each.right for each in counts])
    assert [group.answers for group in found.kinds] == [which.sum() for which in of]
    assert [group.exact for group in found.kinds] == [right[which].mean() for which in of]
    assert found.kinds[0].exact == 1 - len(seen) / of[0].sum()
    assert found.kinds[1].exact == 0.0
    tables = render(found, "a run")
    assert "whole answers" in [column.header for column in tables[-1].columns]


def test_sizes_of_ones_own():
    task = MQAR.resized(pairs=8)
    points = [Slice({"pairs": 8}, task), Slice({"pairs": 2}, task.resized(pairs=2))]
    told: list[Any] = []
    found = measure_at(Lookup(64), points, EFFORT, on_row=told.append)  # type: ignore[arg-type]
    assert [row.axes for row in found.rows] == [{"pairs": 8}, {"pairs": 2}]
    assert told == found.rows
    assert found.task == tasks.to_config(task)
    with pytest.raises(ValueError, match="slices must hold at least one size, got none"):
        measure_at(Lookup(64), [], EFFORT)  # type: ignore[arg-type]


def test_same_seed_same_evaluation():
    model = build_model(ModelConfig(layer="gru", d_model=8), MQAR)
    first, second = (sweep(model, MQAR, EFFORT) for _ in range(2))
    assert first == second
    assert sweep(model, MQAR, replace(EFFORT, seed=1)) != first


def test_questions_are_none_that_training_measured_itself_by(monkeypatch):
    """The stopping rule has seen those questions."""
    from ramgru.lab.train.data import held_out_seed

    drawn: list[int] = []
    draw = type(MQAR).draw

    def noted(self: Task, rows: int, seed: int) -> Any:
        drawn.append(seed)
        return draw(self, rows, seed)

    monkeypatch.setattr(type(MQAR), "draw", noted)
    sweep(Lookup(64), MQAR, EFFORT)  # type: ignore[arg-type]
    assert not {held_out_seed(0, index) for index in range(1000)} & set(drawn)
    assert len(set(drawn)) == len(drawn)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    config = TrainConfig(
        task=tasks.get("mqar", vocab_size=16, pairs=2, length=8),
        model=ModelConfig(layer="gru", d_model=8),
        steps=2,
        batch_size=4,
        evaluate_examples=4,
        out=tmp_path_factory.mktemp("evaluate") / "run",
    )
    return train(config, quiet=True).run


def test_evaluation_is_written_and_shown(run, capsys):
    found = evaluate(EvaluateConfig(run, EFFORT))
    written = json.loads((run / "evaluation.json").read_text())
    assert written["task"]["name"] == "mqar"
    assert (written["metric"], written["chance"]) == ("recall", 1 / 8)
    assert written["state_bytes"] == 4 * 2 * 8
    first = written["rows"][0]
    assert {"pairs", "length", "score", "count", "low", "high", "chance", "plateau"} <= set(first)
    assert first["bits_held"] == 64 * first["bits_per_state_byte"] < 2 * 3
    assert written["memory_capacity"] == found.memory_capacity
    assert 0 < written["memory_capacity"] <= 8
    assert [row["pairs"] for row in written["rows"]] == [row.axes["pairs"] for row in found.rows]
    assert {"low", "high", "score", "count"} <= set(written["distance"][0])
    out = capsys.readouterr().out
    for shown in ("recall", "plateau", "bits held", "bits a state", f"{found.rows[0].score:.3f}"):
        assert shown in out
    assert f"memory capacity {found.memory_capacity:.1f} past inputs" in " ".join(out.split())


def test_memory_capacity_keeps_to_the_longest_sequence_allowed(run):
    assert evaluate(EvaluateConfig(run, replace(EFFORT, max_length=255))).memory_capacity is None


def test_evaluation_is_the_same_from_a_checkpoint(run):
    """An unfinished run has only a checkpoint."""
    before = evaluate(EvaluateConfig(run, EFFORT), quiet=True)
    (run / "model" / "model.safetensors").unlink()
    assert evaluate(EvaluateConfig(run, EFFORT), quiet=True) == before


@pytest.mark.parametrize("name", ["questions", "examples", "tokens"])
def test_bad_effort(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        EvaluateConfig(effort=Effort(**{name: 0}))


def test_shares_keep_their_digits():
    assert [share(x) for x in (0.5, 1 / 4096, None)] == ["0.5", "0.000244", ""]


def test_nothing_asked_ends():
    """A task without questions does not loop forever."""

    class Silent(type(MQAR)):  # type: ignore[misc]
        def draw(self, batch_size: int, seed: int) -> Any:
            batch = super().draw(batch_size, seed)
            return replace(batch, labels=np.full_like(batch.labels, IGNORE))

        def grid(self) -> Any:
            return (tasks.Slice({}, self),)

    task = Silent(**MQAR.options())
    found = sweep(Lookup(64), task, EFFORT)  # type: ignore[arg-type]
    assert (found.rows[0].count, found.rows[0].low, found.rows[0].high) == (0, 0.0, 1.0)


def test_an_effort_that_leaves_no_size_is_refused():
    task = tasks.get("mqar", vocab_size=64, pairs=4, length=32)
    model = build_model(ModelConfig(layer="gru", d_model=8, num_layers=1), task)
    with pytest.raises(ValueError, match=r"effort.max_length: no size of mqar has sequences of 3"):
        sweep(model, task, Effort(max_length=3))


@pytest.mark.parametrize(
    ("name", "options", "longest", "sizes"),
    [
        ("hold", {"vocab_size": 20, "noise": 6}, 300, [64, 200, 256]),
        ("associative_recall", {}, 33, [2, 3, 4, 5, 6]),  # n items take 4 n + 8 steps
    ],
)
def test_max_length_counts_steps_where_no_axis_is_called_length(name, options, longest, sizes):
    task = tasks.get(name, **options)
    model = build_model(ModelConfig(layer="gru", d_model=8, num_layers=1), task)
    found = sweep(model, task, Effort(questions=4, examples=2, max_length=longest))
    assert [size for row in found.rows for size in row.axes.values()] == sizes


def test_a_state_that_grows_is_told_at_its_longest():
    task = tasks.get("mqar", vocab_size=256, pairs=4, length=64)
    model = build_model(ModelConfig(layer="attention", d_model=4, num_layers=2), task)
    found = sweep(model, task, Effort(questions=1, examples=1, max_length=256))
    assert {row.axes["length"] for row in found.rows} == {64, 256}
    # of each block three steps of q, k, v, and the keys and values of all steps
    for row in found.rows:
        held = 2 * (3 * 3 * 4 + row.axes["length"] * 2 * 4)
        assert row.state_bytes == 4 * held
    assert found.state_bytes == max(row.state_bytes for row in found.rows)
    assert "state bytes" in [column.header for column in render(found, "a run")[0].columns]
