import io
import re
from dataclasses import replace

import pytest
from rich.console import Console

from ramgru.errors import DataError
from ramgru.lab.compare.levers import findings, terminal
from ramgru.lab.compare.levers.capacity import Capacity
from ramgru.lab.compare.levers.markdown import markdown, named_pictures
from ramgru.lab.compare.levers.page import page
from ramgru.lab.compare.levers.report import report
from ramgru.lab.compare.levers.tables import capacity_text, cost_rows, efficiency_rows, recall_rows
from ramgru.lab.show.html import render


def test_the_page_has_a_picture_and_a_finding_for_every_lever(results):
    text = render(page(results))
    titles = re.findall(r'<h2 id="s\d+">(.*?)</h2>', text)
    assert titles == [
        *("Gates", "Number of cells", "Structure of the unit", "All points", "Repeat it")
    ]
    sections = text.split("<section")[1:4]
    assert [section.count("<svg") for section in sections] == [1, 2, 1]
    for lever, section in zip(results.levers, sections):
        assert findings.by_lever(results, lever) in section.replace("\N{NO-BREAK SPACE}", " ")
    assert "ramgru study mqar" in text
    assert "&lt;b&gt;not bold&lt;/b&gt;" in text
    assert "<b>not bold" not in text
    assert "a processor" in text
    assert "gate_bias=3.0" in text


def test_findings_are_computed_from_the_data(results):
    assert findings.headline(results) == (
        "Between the best and the worst point of a lever, recall at 256 pairs, length 1,024, "
        "trained on 16 pairs, length 64 differs by: gates 6.0 points; cells 65.0 points; "
        "structure 90.0 points."
    )
    assert findings.by_lever(results, "gates") == (
        "Recall at 256 pairs, length 1,024 is highest with gate_bias 3 (96.0 %) and lowest with "
        "default (90.0 %): the 95 % intervals of gate_bias 3 and default lie apart."
    )
    assert findings.by_lever(results, "structure") == (
        "Recall at 256 pairs, length 1,024 is highest with default (90.0 %) and lowest with "
        "top_k 1 (0.0 %): the 95 % intervals of top_k 1 and default lie apart."
    )
    assert findings.by_cells(results, [(64, "memory_size 64"), (65_536, "default")]) == (
        "From 64 to 65,536 cells pairs held go from 19 to 64 and the time of a step from 50.5 to "
        "50.5 µs; a bit of state holds most, 0.027 bits, with 64 cells."
    )


def test_seeds_that_differ_widely_tell_nothing_apart(results):
    first, *rest = results.of("default")[0].run.rows
    run = results.of("default")[0]
    low = replace(run, run=replace(run.run, rows=[first, replace(rest[0], score=0.5)]))
    other = replace(results, runs=[low if each is run else each for each in results.runs])
    assert findings.by_lever(other, "gates").endswith(
        "the 95 % intervals of gate_bias 3 and default overlap."
    )


def test_the_default_and_the_second_are_told_of_among_three(results):
    lever = replace(results, levers={"x": ["default", "gate_bias 3", "top_k 1"]})
    assert "; default has 90.0 %: the 95 % intervals of gate_bias 3" in findings.by_lever(
        lever, "x"
    )
    lever = replace(results, levers={"x": ["default", "memory_size 64", "top_k 1"]})
    assert "; next is memory_size 64 (25.0 %): the 95 %" in findings.by_lever(lever, "x")


def test_equal_points_are_said_to_be_equal(results):
    other = replace(results, levers={"gates": ["default"]})
    assert findings.by_lever(other, "gates") == (
        "Recall at 256 pairs, length 1,024 is 90.0 % at every point."
    )


def test_tables_have_a_row_a_point(results):
    header, rows = recall_rows(results, results.points)
    assert header == ["", "16 pairs, length 64", "256 pairs, length 1,024"]
    assert [row[0] for row in rows] == [*results.points, "chance", "plateau"]
    assert rows[0] == ["default", "100.0 %\n100.0 – 100.0", "90.0 %\n90.0 – 90.0"]
    assert rows[-1] == ["plateau", "6.2 %", "0.39 %"]
    _, rows = efficiency_rows(results, results.points)
    assert [row[1] for row in rows] == ["64", "≥ 256", "19", "none"]
    _, rows = cost_rows(results, ["default"])
    assert rows == [["default", "1,000", "2.5 MiB", "50.5", "2", "6 KiB", "6.84 KiB"]]


def test_capacities_in_words():
    assert capacity_text(Capacity(1024.0, at_least=True)) == "≥ 1,024"
    assert capacity_text(Capacity(0.0)) == "none"
    assert capacity_text(None) == "–"


def test_combinations_stand_in_the_table_and_in_a_sentence(results):
    names = [f"point {number}" for number in range(12)]
    run = results.runs[0]
    runs = [*results.runs, *(replace(run, point=name) for name in names)]
    crossed = {**results.levers, "crossed": ["default", *names]}
    text = render(page(replace(results, levers=crossed, runs=runs)))
    section = text.split("<section")[4]
    assert ">Crossed</h2>" in section
    assert "<svg" not in section
    assert "is 90.0" in section
    assert "point 11" in text


def test_a_task_of_one_size_is_reported_too(results):
    runs = []
    for each in results.runs:
        rows = [replace(each.run.rows[0], axes={})]
        cost = replace(each.cost, written=[16])
        runs.append(replace(each, run=replace(each.run, rows=rows), cost=cost))
    text = render(page(replace(results, runs=runs, trained={})))
    assert "the task itself" in text
    assert text.count("<svg") == 1  # the number of cells, which has an axis of its own


def test_failed_runs_are_named(results):
    text = render(page(replace(results, failed={"ramgru-x": "RamgruError: the loss became nan"})))
    assert "ramgru-x" in text
    assert "the loss became nan" in text


def test_the_terminal_shows_every_point_in_80_columns(results):
    console = Console(width=80, file=io.StringIO())
    terminal.show(results, console)
    text = console.file.getvalue()
    for phrase in ("recall on mqar at 256 pairs", *results.points, "≥ 256", "50.5", "90.0 %"):
        assert phrase in text
    assert max(map(len, text.splitlines())) <= 80


def test_markdown_says_the_same(results):
    pictures = named_pictures(results)
    assert list(pictures) == ["gates", "cells", "cells-2", "structure"]
    text = markdown(results, "Written by a test.", pictures, "../images")
    for lever in results.levers:
        assert findings.by_lever(results, lever) in text
    assert "](../images/cells-2.svg)" in text
    assert "| default | 100.0 %<br>100.0 – 100.0 | 90.0 %<br>90.0 – 90.0 |" in text
    assert "every point has 2 seeds" in text


def test_a_report_is_drawn_again(results, tmp_path):
    (tmp_path / "study.json").write_text(results.to_json(), encoding="utf-8")
    path = report(tmp_path, quiet=True)
    assert path == tmp_path / "report.html"
    again = report(tmp_path / "study.json", tmp_path / "b.html", quiet=True)
    assert again.read_text(encoding="utf-8") == path.read_text(encoding="utf-8")
    assert path.read_text(encoding="utf-8") == render(page(results))


def test_a_report_of_nothing_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*study\.json: expected what `ramgru study`"):
        report(tmp_path, quiet=True)
