import csv
import io
import json
from dataclasses import replace

import pytest

from ramgru.errors import DataError
from ramgru.lab.compare import results as module
from ramgru.lab.compare.results import curve_of, from_json, read_evaluation
from ramgru.lab.compare.table import columns, to_csv, write_parquet
from ramgru.lab.evaluate.capacity import bits_held

HARDEST = {"pairs": 1024, "length": 4096}


def test_json_holds_everything(comparison, results):
    whole = from_json(comparison.to_json())
    assert whole.to_json() == comparison.to_json()
    (again,) = whole.tasks
    assert again.score("ramgru", HARDEST) == results.score("ramgru", HARDEST)
    assert again.memory.occupancy.used == 2
    assert [answer.right for answer in again.memory.sample.answers] == [True, False]


def test_bits_are_counted_where_they_are_most(results):
    run = results.runs[0]
    assert run.bits == max(bits_held(r.axes["pairs"], r.score, r.chance) for r in run.rows)
    assert run.bits_per_state_byte == run.bits / run.state_bytes
    assert replace(run, rows=[replace(run.rows[0], axes={"length": 9})]).bits is None


def test_json_without_a_memory(comparison, results):
    without = replace(comparison, tasks=[replace(results, memory=None)])
    assert from_json(without.to_json()).tasks[0].memory is None


def test_the_score_over_seeds_has_students_interval(results):
    score = results.score("ramgru", HARDEST)
    half = 12.706 * 0.01 * 2**0.5 / 2**0.5  # t of one degree of freedom, deviation 0.01·√2
    assert score.mean == pytest.approx(0.95)
    assert score.low == pytest.approx(0.95 - half)
    assert score.high == 1.0


def test_with_one_seed_the_interval_is_the_evaluations(results):
    score = replace(results, runs=results.runs[:1]).score("ramgru", HARDEST)
    assert (score.mean, score.low, score.high) == pytest.approx((0.94, 0.93, 0.95))


def test_distances_stand_where_their_range_begins(results):
    ours, theirs = results.distances()
    assert list(ours.x) == [8, 16]
    assert [score.mean for score in ours.scores] == pytest.approx([1.0, 0.985])
    assert theirs.layer == "gru"


def test_csv_is_tidy(two_tasks, tmp_path):
    rows = list(csv.DictReader(io.StringIO(to_csv(two_tasks))))
    assert len(rows) == 4 * 3 + 4
    assert (rows[-1]["task"], rows[-1]["pairs"], rows[-1]["length"]) == ("parity", "", "9")
    write_parquet(two_tasks, tmp_path / "compare.csv")
    parquet = pytest.importorskip("pyarrow.parquet").read_table(tmp_path / "compare.parquet")
    assert parquet.to_pydict() == columns(two_tasks)
    assert rows[2] == {
        "task": "mqar",
        "run": "ramgru-lr0.003-seed0",
        "layer": "ramgru",
        "seed": "0",
        "lr": "0.003",
        "parameters": "1000000",
        "state_bytes": str(2**24),
        "steps": "20",
        "seconds": "12.5",
        "step_us": "60.0",
        "train_us": "2.0",
        "touched_bytes": "384",
        "bits": rows[2]["bits"],
        "bits_per_state_byte": rows[2]["bits_per_state_byte"],
        "pairs": "1024",
        "length": "4096",
        "score": "0.94",
        "count": "2048",
        "low": rows[2]["low"],
        "high": rows[2]["high"],
        "chance": str(2 / 8192),
        "plateau": str(1 / 1024),
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "my.json: expected JSON"),
        ("[]", "my.json: expected a comparison of format 'ramgru-compare-2', got None"),
        ('{"format": "other"}', "got 'other'"),
        (f'{{"format": "{module.FORMAT}"}}', "my.json: the comparison is incomplete"),
    ],
    ids=["broken", "a list", "foreign", "empty"],
)
def test_foreign_data_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        from_json(text, "my.json")


@pytest.mark.parametrize("missing", ["rows", "score"])
def test_incomplete_runs_are_refused(comparison, missing):
    data = json.loads(comparison.to_json())
    runs = data["tasks"][0]["runs"]
    if missing == "rows":
        runs[3]["rows"] = []  # a layer of which a slice is missing
        runs.pop(2)
    else:
        del runs[0]["rows"][0]["score"]
    with pytest.raises(DataError, match="the comparison is incomplete"):
        from_json(json.dumps(data))


def test_an_evaluation_is_read_with_its_axes(tmp_path):
    path = tmp_path / "evaluation.json"
    row = {"pairs": 4, "length": 64, "score": 1.0, "count": 10, "low": 0.9, "high": 1.0}
    more = {"chance": 0.1, "plateau": 0.25, "exact": 1.0, "loss": 0.5, "state_bytes": 512}
    near = {"low": 4, "high": 7, "score": 0.5, "count": 2, "interval": [0.1, 0.9]}
    whole = {"metric": "recall", "chance": 0.2, "state_bytes": 512, "distance": [near]}
    path.write_text(json.dumps({**whole, "rows": [{**row, **more}, row]}))
    head, rows, distance = read_evaluation(path)
    assert head == {"metric": "recall", "state_bytes": 512}
    assert [r.axes for r in rows] == [{"pairs": 4, "length": 64}] * 2
    assert [(r.chance, r.plateau) for r in rows] == [(0.1, 0.25), (0.2, None)]
    assert distance[0].interval == [0.1, 0.9]


def test_what_is_no_evaluation_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*evaluation\.json"):
        read_evaluation(tmp_path / "evaluation.json")
    (tmp_path / "evaluation.json").write_text('{"rows": [{}]}')
    with pytest.raises(DataError, match="is not an evaluation"):
        read_evaluation(tmp_path / "evaluation.json")


def test_a_curve_is_read_from_a_log():
    events = [
        {"event": "step", "step": 10, "loss": 2.0, "recall": 0.1},
        {"event": "step", "step": 20, "loss": None},  # not finite
        {"event": "evaluate", "step": 20, "loss": 1.5, "recall": 0.5},
        {"event": "end", "step": 20, "reason": "steps"},
    ]
    curve = curve_of(events, "gru", 3, "recall")
    assert (curve.steps, curve.loss) == ([10], [2.0])
    assert (curve.metric_steps, curve.metric) == ([20], [0.5])
