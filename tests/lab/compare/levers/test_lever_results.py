import csv
import io
import json
import math

import pytest

from ramgru.errors import DataError
from ramgru.lab.compare.levers.capacity import Capacity
from ramgru.lab.compare.levers.results import FORMAT, from_json

HARDEST = {"pairs": 256, "length": 1024}


def test_json_holds_everything(results):
    again = from_json(results.to_json())
    assert again.to_json() == results.to_json()
    assert again.score("top_k 1", HARDEST) == results.score("top_k 1", HARDEST)
    assert again.capacity("default") == results.capacity("default")
    assert again.points == ["default", "gate_bias 3", "memory_size 64", "top_k 1"]


def test_the_score_over_seeds_has_an_interval(results):
    score = results.score("default", HARDEST)
    assert (score.mean, score.low, score.high) == (0.9, 0.9, 0.9)  # both seeds alike


def test_capacity_is_of_the_mean_recall(results):
    assert results.capacity("default").pairs == pytest.approx(64)  # halfway from 16 to 256
    assert results.capacity("gate_bias 3") == Capacity(256.0, at_least=True)
    assert results.capacity("top_k 1") == Capacity(0.0)


def test_bits_by_closed_form(results):
    run = results.of("gate_bias 3")[0]
    p, pairs, values = 0.96, 256, 4096
    entropy = -p * math.log2(p) - (1 - p) * math.log2(1 - p)
    bits = pairs * (math.log2(values) - entropy - (1 - p) * math.log2(values - 1))
    assert run.bits == pytest.approx(bits)
    floats = run.run.state_bytes // 4
    assert run.bits_per_state_bit == pytest.approx(bits / (32 * floats))
    assert run.bits_per_parameter == pytest.approx(bits / 1000)
    # of 10 floats a cell: 16 cells written for 16 pairs, 256 for 256
    assert run.bits_per_written_bit == pytest.approx(max(16 * 12 / 16, bits / 256) / 320)


def test_bits_are_of_the_size_at_which_they_are_most(results):
    assert results.of("top_k 1")[0].bits == results.of("top_k 1")[1].bits > 0
    assert results.of("memory_size 64")[0].bits > 16 * 12  # a quarter of 256 is more than 16


def test_a_task_without_pairs_has_scores_alone(results):
    text = results.to_json().replace('"pairs"', '"size"')
    other = from_json(text)
    run = other.runs[0]
    assert (run.bits, run.bits_per_state_bit, run.bits_per_written_bit) == (None, None, None)
    assert other.capacity("default") is None
    assert other.mean("default", lambda run: run.bits) is None
    assert other.score("default", {"size": 256, "length": 1024}).mean == 0.9


def test_a_mean_is_over_seeds(results):
    assert results.mean("default", lambda run: run.cost.step_us) == 50.5


def test_a_point_without_a_run_is_left_out(results):
    data = json.loads(results.to_json())
    data["runs"] = [run for run in data["runs"] if run["point"] != "top_k 1"]
    other = from_json(json.dumps(data))
    assert other.of_lever("structure") == ["default"]


def test_csv_is_tidy(results):
    rows = list(csv.DictReader(io.StringIO(results.to_csv())))
    assert len(rows) == 8 * 2
    row = rows[1]
    assert (row["point"], row["levers"]) == ("default", "gates cells structure")
    assert (row["pairs"], row["score"], row["written"]) == ("256", "0.9", "256")
    assert (row["run"], row["step_us"]) == ("ramgru-default-0", "50.0")
    assert float(row["bits"]) == results.runs[0].bits
    assert float(row["bits_per_state_bit"]) == results.runs[0].bits_per_state_bit
    assert None not in row.values()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "my.json must hold JSON"),
        ("[]", "my.json must hold a study of format 'ramgru-study-1', got None"),
        ('{"format": "ramgru-compare-1"}', "got 'ramgru-compare-1'"),
        (f'{{"format": "{FORMAT}"}}', "my.json is not a whole study"),
    ],
    ids=["broken", "a list", "foreign", "empty"],
)
def test_foreign_data_is_refused(text, message):
    with pytest.raises(DataError, match=message):
        from_json(text, "my.json")


def test_incomplete_runs_are_refused(results):
    data = json.loads(results.to_json())
    del data["runs"][1]["cost"]["step_us"]
    with pytest.raises(DataError, match="not a whole study"):
        from_json(json.dumps(data))
