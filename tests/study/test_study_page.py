import io
import re
from dataclasses import replace

from rich.console import Console

from ramgru.report.data import Line, Score
from ramgru.report.html import render
from ramgru.report.sentences import joined, occupancy_finding, provenance_finding, slice_text
from ramgru.study import findings, terminal
from ramgru.study.page import axis_of, page, table_rows


def test_the_page_shows_table_then_pictures_then_the_recipe(results):
    text = render(page(results))
    titles = re.findall(r'<h2 id="s\d+">(.*?)</h2>', text)
    assert titles == [
        "Scores",
        "Recall against size",
        "Distance",
        "State",
        "Training",
        "Inside the memory",
        "Repeat it",
    ]
    assert text.count("<svg") == text.count("<figcaption>") == 6
    assert "RAM-GRU beside nn.GRU on mqar" in text
    assert "ramgru compare mqar --seeds 0 1" in text
    assert "&lt;b&gt;not bold&lt;/b&gt;" in text
    assert "<b>not bold" not in text
    assert "a processor" in text


def test_a_comparison_without_memory_distance_and_seeds_is_drawn_too(results):
    runs = [replace(run, distance=[]) for run in results.runs if run.layer == "gru"][:1]
    text = render(page(replace(results, runs=runs, memory=None, tried=[])))
    assert text.count("<svg") == 3
    assert "nn.GRU on mqar" in text
    assert "one seed" in text


def test_the_table_has_a_column_a_layer_then_chance_and_plateau(results):
    header, rows = table_rows(results)
    assert header == ["", "RAM-GRU", "nn.GRU", "chance", "plateau"]
    assert rows[:4] == [
        ["parameters", "1,000,000", "1,000,000", "", ""],
        ["state", "16 MiB", "1 KiB", "", ""],
        ["steps", "20", "20", "", ""],
        ["seconds", "12", "12", "", ""],
    ]
    assert [row[0] for row in rows[4:]] == [
        "16 pairs, length 64",
        "256 pairs, length 1,024",
        "1,024 pairs, length 4,096",
    ]
    assert rows[6][1:] == ["95.0 %\n82.3 – 100.0", "0.1 %\n0.1 – 0.1", "0.024 %", "0.098 %"]


def test_a_task_without_plateau_has_no_such_column(results):
    runs = [replace(r, rows=[replace(row, plateau=None) for row in r.rows]) for r in results.runs]
    header, rows = table_rows(replace(results, runs=runs))
    assert header[-1] == "chance"
    assert {len(row) for row in rows} == {4}


def test_the_terminal_shows_the_same_table(results):
    console = Console(width=80, file=io.StringIO())
    terminal.show(results, console)
    text = console.file.getvalue()
    for phrase in ("recall on mqar", "RAM-GRU", "95.0 %", "16 MiB", "chance", "0.024 %"):
        assert phrase in text


def test_a_state_that_grows_is_said_to(results):
    runs = [replace(r, layer="attention") if r.layer == "gru" else r for r in results.runs]
    said = "The state of attention grows with the sequence"
    for shown, expected in ((results, False), (replace(results, runs=runs), True)):
        assert (said in render(page(shown))) == expected


def test_findings_are_computed_from_the_data(results):
    assert findings.headline(results) == (
        "Recall at 1,024 pairs, length 4,096, trained on 16 pairs, length 64: "
        "RAM-GRU 95.0 % and nn.GRU 0.1 %; chance is 0.024 %."
    )
    ours = Line("ramgru", (4, 16, 64), [Score(1.0), Score(0.8), Score(0.95)])
    theirs = Line("gru", (4, 16, 64), [Score(0.25)] * 3)
    assert findings.by_size(results, [ours, theirs], "pairs") == (
        "At least 90 % recall is reached by RAM-GRU up to 4 pairs; by nn.GRU at none of the sizes."
    )
    assert findings.by_state(results) == (
        "RAM-GRU is right in 95.0 % of the questions with 16 MiB of state a sequence; "
        "nn.GRU in 0.1 % with 1 KiB."
    )
    assert findings.by_training(results) == (
        "95 % recall on held-out data of the training sizes is reached by RAM-GRU after 20 steps; "
        "by nn.GRU never (best 6.2 %)."
    )
    assert findings.by_distance(results, results.distances()) == (
        "Recall: RAM-GRU 100.0 % at the shortest distance and 98.5 % at the longest; "
        "nn.GRU 6.2 % at the shortest distance and 0.4 % at the longest."
    )
    assert occupancy_finding(results.memory.occupancy, "x").startswith(
        "At x, 6 writes go to 2 different cells, 3.1 % of the memory: 0.33 cells a write"
    )
    assert provenance_finding(results.memory.sample).startswith(
        "1 of 2 answers are right; 1 of 2 come mostly from the step"
    )


def test_slices_and_lists_in_words():
    assert slice_text({"pairs": 1024, "length": 4096}) == "1,024 pairs, length 4,096"
    assert slice_text({}) == "the task itself"
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"


def test_sizes_are_drawn_along_the_axis_with_the_most_of_them(results):
    assert axis_of(results) == "pairs"
    one = results.runs[0]
    rows = [replace(one.rows[0], axes={"registers": 8, "statements": n}) for n in (16, 32)]
    assert axis_of(replace(results, runs=[replace(one, rows=rows)])) == "statements"
    rows = [replace(one.rows[0], axes={})]
    alone = replace(results, runs=[replace(one, rows=rows)])
    assert axis_of(alone) is None
    assert "measured at one size only" in render(page(alone))
