"""Your own numbers: what a file says, what is learned from it, and a sentence for what is wrong."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest

from ramgru.errors import DataError
from ramgru.lab.tasks import IGNORE, Table, from_config, to_config
from ramgru.lab.tasks.table_file import MOST_COLUMNS, read_columns

MONTHS = "month;sales;visitors\n" + "".join(
    f"2024-{n + 1:02d};{10 * n + n % 4};{n}\n" for n in range(40)
)


@pytest.fixture
def sales(tmp_path: Path) -> str:
    (tmp_path / "sales.csv").write_text(MONTHS)
    return str(tmp_path / "sales.csv")


def write(tmp_path: Path, text: str | bytes, name: str = "x.csv") -> str:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def in_units(task: Table, labels: np.ndarray) -> np.ndarray:
    return labels * task.fitted.unit


def test_a_forecast_asks_for_the_change_to_the_rows_ahead(sales):
    task = Table(sales, target="sales", skip="month", horizon=3, length=8, validation=0.25)
    values = np.array([10 * n + n % 4 for n in range(40)], dtype=float)
    assert (task.features, task.outputs, task.metric, task.chance) == (3, 3, "skill", 0.0)
    batch = task.draw(64, 0)
    assert batch.inputs.shape == (64, 8, 3)
    sales_column, visitors = 0, 1
    scale = task.fitted
    for b in range(64):
        n = int(batch.lengths[b])
        row = batch.inputs[b, :n, visitors] * scale.spread[visitors] + scale.center[visitors]
        row = np.rint(row).astype(int)
        assert (np.diff(row) == 1).all()
        assert row[-1] < 29  # row 29 forecasts row 30, the first of the held-out quarter
        read = batch.inputs[b, :n, sales_column] * scale.spread[0] + scale.center[0]
        np.testing.assert_allclose(read, values[row], atol=1e-3)
        for k in (1, 2, 3):
            change = in_units(task, batch.labels[b, :n])[:, k - 1]
            known = row + k < 30
            expected = values[np.minimum(row + k, 39)] - values[row]
            np.testing.assert_allclose(change[known], expected[known], atol=1e-3)
            assert np.isnan(change[~known]).all()
    known = [values[k:30] - values[: 30 - k] for k in (1, 2, 3)]
    np.testing.assert_allclose(scale.unit, [np.sqrt(np.mean(change**2)) for change in known])


def test_a_season_s_naive_forecast_is_the_value_of_one_season_before(sales):
    task = Table(sales, target="sales", skip="month", horizon=6, season=4)
    rows = task.rows(sales)
    values = np.array([10 * n + n % 4 for n in range(40)], dtype=float)
    for row in range(6, 30):
        expected = [values[row + k - 4 * -(-k // 4)] for k in range(1, 7)]
        np.testing.assert_array_equal(rows.origin[row], expected)


def test_the_held_out_part_asks_each_row_once(sales):
    task = Table(sales, target="sales", skip="month", length=6, validation=0.25).held_out()
    batch = task.draw(task.number_of_examples, 7)
    asked = ~np.isnan(batch.labels[..., 0])
    scale = task.fitted
    visitors = np.rint(batch.inputs[..., 1] * scale.spread[1] + scale.center[1])
    assert sorted(visitors[asked].tolist()) == list(range(29, 39))
    assert (asked.argmax(1)[batch.lengths > 1] >= 1).all()  # there are rows before them


def test_classes_and_values_of_a_row(tmp_path):
    text = "a,kind,b\n" + "".join(f"{n},{'xyz'[n % 3]},{n * n}\n" for n in range(30))
    path = write(tmp_path, text)
    task = Table(path, target="kind", predict="class", validation=0)
    assert (task.features, task.outputs, task.classes) == (2, 3, True)
    assert task.fitted.classes == ("x", "y", "z")
    assert task.chance == pytest.approx(1 / 3)
    batch = task.draw(1, 0)
    row = np.rint(batch.inputs[0, :, 0] * task.fitted.spread[0] + task.fitted.center[0])
    assert (batch.labels[0] == row.astype(int) % 3).all()
    value = Table(path, target="b", predict="value", skip="kind", validation=0)
    assert value.features == 1
    told = value.rows(path).answers[:, 0] * value.fitted.unit[0] + value.fitted.origin
    np.testing.assert_allclose(told, np.arange(30) ** 2)


def test_series_are_apart_and_are_asked_at_their_end(tmp_path):
    """Rows of several series may be mixed; every third series is held out."""
    rows = [f"{name},{step},{'even' if s % 2 == 0 else 'odd'}" for step in range(4)
            for s, name in enumerate("abcdef") if step < 2 + s % 3]  # fmt: skip
    path = write(tmp_path, "who,x,kind\n" + "\n".join(rows) + "\n")
    options = {"series": "who", "target": "kind", "predict": "class", "ask": "end"}
    task = Table(path, validation=0.34, **options)
    batch, held = task.draw(4, 0), task.held_out()
    assert held.number_of_examples == 2
    assert sorted([*batch.lengths, *held.draw(2, 0).lengths]) == [2, 2, 3, 3, 4, 4]
    for b, n in enumerate(batch.lengths):
        assert (batch.labels[b, : n - 1] == IGNORE).all()
        assert batch.labels[b, n - 1] in (0, 1)
        assert (batch.inputs[b, n:] == 0).all()


def test_arrays(tmp_path):
    for shape, series in (((30,), 1), ((30, 2), 1), ((5, 6, 2), 5)):
        np.save(tmp_path / "x.npy", np.arange(np.prod(shape)).reshape(shape) * 0.5)
        task = Table(str(tmp_path / "x.npy"), target="1", validation=0)
        rows = task.rows(task.path)
        assert len(rows.starts) == series + 1
        assert np.isnan(rows.answers[rows.starts[1:] - 1]).all()


def test_a_task_comes_back_from_its_config_and_reads_another_file_with_its_scales(sales, tmp_path):
    task = Table(sales, target="sales", skip="month")
    assert from_config(json.loads(json.dumps(to_config(task)))) == task
    other = write(tmp_path, "visitors,sales\n1,100\n2,200\n")
    rows = task.rows(other)
    expected = (np.array([100, 200]) - task.fitted.center[0]) / task.fitted.spread[0]
    np.testing.assert_allclose(rows.inputs[:, 0], expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ("a,b\n1,2\n1\n", {}, "x.csv, line 3: expected 2 cells, got 1"),
        ("a,b\n1,2\n1,2,3\n", {}, "x.csv, line 3: expected 2 cells, got 3"),
        (
            "a,b\n1,2\n\n3,four\n",
            {},
            "x.csv, line 4, column b: expected a number, got 'four'; --task.skip b leaves the "
            "column out",
        ),
        ("a,b\n1,2\n3,\n", {}, "x.csv, line 3, column b: expected a number, got nothing"),
        ("a,b\n1,2\n3,inf\n", {}, "x.csv, line 3, column b: expected a number, got inf"),
        ("a,b\n1,2\n", {"target": "c"}, "--task.target: .*x.csv has no column 'c'; Known: a, b"),
        ("a,b\n1,2\n", {"skip": "aa"}, "--task.skip: .*has no column 'aa'; did you mean a?"),
        ("a,b\n1,2\n", {"series": "k"}, "--task.series: .*has no column 'k'"),
        ("a,b\n1,2\n", {"target": ""}, "x.csv: give --task.target, one of its columns a, b"),
        ("a,a\n1,2\n", {}, "line 1: expected a different name for each column, got 'a' twice"),
        ("a,b\n", {}, "x.csv, line 1: expected rows below the names of the columns"),
        ("a,b\n1,2\n", {}, "x.csv is too short: it has no row to learn from"),
        ('a,b\n1,"2\n', {}, "x.csv, line 2: expected a row of cells, unexpected end of data"),
        (b"a,b\n1,\xff\n", {}, "x.csv, line 2: expected UTF-8, got the byte 0xff"),
        (" \n", {}, "x.csv is empty"),
        (b"\xef\xbb\xbf\n\n", {}, "x.csv is empty"),
        # The latter of Python 3.10, whose csv reads no NUL.
        ("a,b\n1,2\n1,2\0\n", {}, r"line 3.*: expected a (number, got '2\\x00'|row .* NUL)"),
        ("a,b\n1,2\n3,1e31\n", {}, r"line 3, column b: expected a number up to 1e\+30, got 1e\+31"),
        ("a\n" + "1e-100\n-1e-100\n" * 9 + "1\n", {"validation": 0.1}, r"x.csv: .* got larger"),
        (
            "a,b\n" + "".join(f"{n},{n / 7}\n" for n in range(9)),
            {"predict": "class", "target": "b"},
            "column b: expected classes, got 9 different cells in 9 rows",
        ),
        ("a\n1\n2\n", {"target": "a", "predict": "value"}, "columns to read beside a, got none"),
    ],
)
def test_what_is_not_understood_is_one_sentence(tmp_path, content, options, message):
    path = write(tmp_path, content)
    with pytest.raises(DataError, match=message):
        Table(path, **{"target": "a", "validation": 0, **options}).draw(2, 0)


def test_a_table_may_be_wide(tmp_path):
    """Time grows with the number of columns, not with its square; errors stay short."""
    names = [f"c{n}" for n in range(MOST_COLUMNS)]
    rows = "\n".join(",".join([str(n)] * len(names)) for n in range(6))
    path = write(tmp_path, ",".join(names) + "\n" + rows)
    start = time.process_time()
    task = Table(path, target="c7", skip=",".join(names[9:]), validation=0)
    assert task.features == 10
    assert Table(path, target="c7", validation=0).features == MOST_COLUMNS + 1
    for target in ("", "x"):
        with pytest.raises(DataError, match=r"… \(16,384 in all\)$") as error:
            Table(path, target=target)
        assert len(str(error.value)) < 1000
    assert time.process_time() - start < 5  # of which quadratic time would take ten times as much
    names[-1] = names[0]
    with pytest.raises(DataError, match="got 'c0' twice"):
        read_columns(write(tmp_path, ",".join(names) + "\n" + rows))


@pytest.mark.parametrize("name", ["x.csv", "x.npy"])
def test_a_table_may_be_too_wide(tmp_path, name):
    path = tmp_path / name
    array = np.zeros((2, MOST_COLUMNS + 1))
    np.save(path, array) if name == "x.npy" else np.savetxt(path, array, "%d", delimiter=",")
    with pytest.raises(DataError, match="expected at most 16,384 columns, got 16,385"):
        read_columns(str(path))


def test_small_changes_of_large_numbers_are_kept(tmp_path):
    """As of times in milliseconds: float32 alone would read one number in all rows."""
    large = "".join(f"{1_700_000_000_000 + n % 5}\n" for n in range(50))
    small = "".join(f"{n % 5}\n" for n in range(50))
    tables = [
        Table(write(tmp_path, "x\n" + rows, name))
        for rows, name in ((large, "l.csv"), (small, "s.csv"))
    ]
    inputs = [table.rows(table.path).inputs for table in tables]
    np.testing.assert_allclose(*inputs, atol=1e-3)


# NumPy warns of such a NaN where it changes the type.
SIGNALLING_NAN = np.array([0, 0x7F800001, 0], np.uint32).view(np.float32)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "x.npy is empty"),
        (b"1,2,3", "x.npy is no .npy array of numbers"),
        (np.array([["a"]]), "expected an array of numbers, got <U1"),
        (np.zeros((2, 2, 2, 2)), r"expected numbers of shape \(steps,\), .* got \(2, 2, 2, 2\)"),
        (np.full(9, np.longdouble("1e4000")), "row 0, column 1: expected a number, got inf"),
        (np.array([1.0, np.nan, 2.0]), "x.npy, row 1, column 1: expected a number, got nan"),
        (SIGNALLING_NAN, "x.npy, row 1, column 1: expected a number, got nan"),
    ],
)
def test_arrays_that_are_none(tmp_path, content, message):
    path = tmp_path / "x.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content)
    with pytest.raises(DataError, match=message):
        Table(str(path), target="1")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"predict": "sales"}, "predict must be one of forecast, class, value, got 'sales'"),
        ({"ask": "end"}, 'ask must be "row" for predict="forecast"'),
        ({"validation": 1}, "validation must be a share"),
        ({"horizon": 0}, "horizon must be at least 1, got 0"),
        ({"fit": "[]"}, "fit must be what a run on a table stored"),
    ],
)
def test_options_that_are_wrong(sales, options, message):
    with pytest.raises(ValueError, match=message):
        Table(sales, target="sales", skip="month", **options).features  # noqa: B018


def test_each_flipped_bit_of_an_arrays_header_is_told_or_harmless(tmp_path: Path) -> None:
    """NumPy reads the header as an expression of Python, with errors of its own."""
    path = tmp_path / "array.npy"
    np.save(path, np.arange(12.0).reshape(4, 3))
    whole, told = path.read_bytes(), []
    for bit in range(0, 8 * 128, 3):
        broken = bytearray(whole)
        broken[bit // 8] ^= 1 << bit % 8
        path.write_bytes(broken)
        try:
            read_columns(str(path))
        except DataError as error:
            told.append(str(error))
    assert len(told) > 300
    assert all(str(path) in sentence for sentence in told)
