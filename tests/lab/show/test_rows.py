"""A run on a table is inspected: rows of its file or of another, in the file's own units."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch

from ramgru.config import Memory
from ramgru.errors import DataError
from ramgru.lab.evaluate import predict
from ramgru.lab.show.data import Answer, Sample, Scale
from ramgru.lab.show.example import draw, parse, read, token_labels
from ramgru.lab.show.inspect import InspectConfig, inspect
from ramgru.lab.show.sentences import beside, right_of
from ramgru.lab.tasks import Table
from ramgru.lab.train import ModelConfig, TrainConfig, train

KINDS = {
    "forecast": {"target": "sales", "skip": "kind,week", "horizon": 2},
    "value": {"target": "sales", "skip": "kind,week", "predict": "value"},
    "class": {"target": "kind", "skip": "week", "predict": "class"},
    "end": {"target": "kind", "series": "week", "predict": "class", "ask": "end"},
}
SALES = [100 + 10 * (n % 7) + n / 8 for n in range(80)]
ROWS = [f"{n},{sale:g},{'low' if n % 7 < 4 else 'high'},{n // 8}" for n, sale in enumerate(SALES)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The file, a shorter one without its middle, and a run of each kind."""
    folder = tmp_path_factory.mktemp("table")
    (folder / "own.csv").write_text("\n".join(["month,sales,kind,week", *ROWS]))
    (folder / "new.csv").write_text("\n".join(["month,sales,kind,week", *ROWS[40:60]]))
    threads = torch.get_num_threads()
    memory = Memory(cells=16, heads="key lag:3")
    for name, options in KINDS.items():
        config = TrainConfig(
            task=Table(str(folder / "own.csv"), length=16, **options),
            model=ModelConfig(d_model=8, num_layers=1, memory=memory),
            **{"steps": 2, "batch_size": 4, "evaluate_examples": 4, "threads": 1, "device": "cpu"},
            out=folder / name,
        )
        train(config, quiet=True)
    torch.set_num_threads(threads)
    return folder


def task_of(folder, kind):
    return Table(str(folder / "own.csv"), length=16, **KINDS[kind])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("split", ["train", "validation"])
def test_a_drawn_example_is_that_of_the_task(folder, kind, split):
    task = task_of(folder, kind).resized(split=split)
    example, batch = draw(task, 3), task.draw(1, 3)
    np.testing.assert_array_equal(example.inputs, batch.inputs[0])
    labels = batch.labels[0]
    asked = labels != -100 if labels.ndim == 1 else ~np.isnan(labels).all(-1)
    assert [q.step for q in example.questions] == np.flatnonzero(asked).tolist()


def test_questions_and_labels_are_in_the_units_of_the_file(folder):
    forecast = read(task_of(folder, "forecast"), folder / "new.csv")
    assert forecast.scale == Scale("sales", pytest.approx(np.std(SALES[40:60])))
    assert [q.step for q in forecast.questions] == list(range(20))
    right = np.array([q.expected for q in forecast.questions[:-1]])
    np.testing.assert_allclose(right[:, 0], SALES[41:60])
    np.testing.assert_allclose(right[:-1, 1], SALES[42:60])
    assert forecast.questions[-1].expected is None  # beyond the end of the file
    labels = token_labels(task_of(folder, "forecast"), forecast.inputs)
    assert labels[:2] == ["40, 155", "41, 165.12"]
    value = read(task_of(folder, "value"), folder / "new.csv")
    np.testing.assert_allclose([q.expected[0] for q in value.questions], SALES[40:60])
    end = read(task_of(folder, "end"), folder / "own.csv")
    assert [(q.step, q.expected) for q in end.questions] == [(7, 1)]  # of the first week: "low"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("file", [None, "own.csv", "new.csv"])
def test_a_run_is_shown_with_its_own_answers(folder, kind, file, capsys, tmp_path):
    path = None if file is None else folder / file
    out = inspect(InspectConfig(folder / kind, file=path, out=tmp_path / "x.html"))
    printed, page = capsys.readouterr().out, out.read_text(encoding="utf-8")
    story = json.loads(re.search(r'json">(.*)</script>', page)[1])
    if file == "own.csv":
        told = predict(folder / kind)
        said = story["moments"][-1]["said"]
        if kind in ("forecast", "value"):
            shown = np.array([[float(x) for x in one.split(", ")] for one in said])
            np.testing.assert_allclose(shown, told, rtol=1e-3)
        else:
            assert said == (told[7:8] if kind == "end" else told).tolist()
    if kind in ("forecast", "value"):
        assert re.search(
            r"The mean error of \d+ answers is \S+, \S+ % of the spread of sal", printed
        )
        assert re.search(r"→ .*, expected .*, error ", printed)
        assert re.search(r"<title>RAM-GRU tells sales with a mean error of [\d.]+</title>", page)
        assert "✓" not in printed
        assert story["columns"][0] == ("sales" if kind == "forecast" else "month")
        assert {"● sales", "its error"} <= set(
            re.findall(r"● sales|its error", re.sub("</?i[^>]*>", "", page))
        )
    else:
        assert re.search(r"\d+ of \d+ answers are right", printed)
        assert set(story["moments"][-1]["said"]) <= {"low", "high"}


def test_errors_are_told_beside_those_of_a_rival_and_judge_no_answer_right():
    answers = [Answer(n, "10", "12", (), error=error) for n, error in enumerate([2.0, 4.0])]
    sample = Sample(["1", "2"], [*answers, Answer(2, None, "9", ())], Scale("sales", 12.0))
    assert [answer.right for answer in sample.answers] == [None] * 3
    assert right_of(sample) == (
        "The mean error of 2 answers is 3, 25.0 % of the spread of sales: 12, its standard "
        "deviation in the file."
    )
    rival = {"name": "nn.GRU", "said": ["1"] * 3, "error": [5.0, 7.5, None]}
    expected = "RAM-GRU tells sales with a mean error of 3, nn.GRU 6.25"
    assert beside(sample, rival) == expected
    assert right_of(replace(sample, answers=sample.answers[2:])) == (
        "The right answers lie beyond the end of the file."
    )


def test_what_a_table_cannot_read_is_said(folder, tmp_path):
    task = task_of(folder, "forecast")
    with pytest.raises(
        ValueError, match=r"reads month, sales of a file: expected --file FILE inst"
    ):
        parse(task, "1,2")
    (tmp_path / "x.csv").write_text("month,visits\n1,2\n")
    with pytest.raises(DataError, match="has no column 'sales'"):
        read(task, tmp_path / "x.csv")
    (tmp_path / "x.log").write_text("error 17")
    with pytest.raises(DataError, match="is no table"):
        read(task, tmp_path / "x.log")
