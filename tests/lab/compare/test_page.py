import io
import re
from dataclasses import replace

from rich.console import Console

from ramgru.lab.compare import findings, terminal
from ramgru.lab.compare.page import CHARGED, axis_of, page
from ramgru.lab.compare.tables import (
    best_of,
    cost_rows,
    leaderboard_rows,
    score_rows,
)
from ramgru.lab.show.data import Line, Score
from ramgru.lab.show.html import render
from ramgru.lab.show.sentences import joined, occupancy_finding, provenance_finding, slice_text


def test_the_page_shows_table_then_pictures_then_the_recipe(comparison):
    text = render(page(comparison))
    titles = re.findall(r'<h2 id="s\d+">(.*?)</h2>', text)
    assert titles == [
        "Scores",
        "Recall against size",
        "Distance",
        "Cost",
        "Training",
        "Inside the memory",
        "Repeat it",
    ]
    assert text.count("<svg") == text.count("<figcaption>") == 7
    assert "RAM-GRU beside nn.GRU on mqar" in text
    assert "ramgru compare mqar --seeds 0 1" in text
    assert "&lt;b&gt;not bold&lt;/b&gt;" in text
    assert "<b>not bold" not in text
    assert "a processor" in text


def test_a_comparison_without_memory_distance_and_seeds_is_drawn_too(comparison, results):
    runs = [replace(run, distance=[], train_us=None) for run in results.runs if run.layer == "gru"]
    bare = replace(results, runs=runs[:1], memory=None, tried=[])
    text = render(page(replace(comparison, tasks=[bare])))
    assert text.count("<svg") == 3
    assert "nn.GRU on mqar" in text
    assert "one seed" in text


def test_the_tables_have_a_row_a_layer_then_chance_and_plateau(results):
    header, rows, _ = score_rows(results)
    assert header == [
        "layer",
        "16 pairs, length 64",
        "256 pairs, length 1,024",
        "1,024 pairs, length 4,096",
    ]
    assert [row[0] for row in rows] == ["RAM-GRU", "nn.GRU", "chance", "plateau"]
    assert [row[3] for row in rows] == [
        *("95.0 %\n82.3 – 100.0", "0.1 %\n0.1 – 0.1", "0.024 %", "0.098 %"),
    ]
    header, rows, _ = cost_rows(results)
    assert header == [
        *("layer", "parameters", "state", "touched", "streaming step", "train step", "steps"),
        *("seconds", "bits held", "bits / state byte"),
    ]
    assert rows[0][:8] == [
        *("RAM-GRU", "1,000,000", "16 MiB", "384 B", "60 µs", "2 µs", "20", "12"),
    ]
    assert rows[1][3] == "–"  # of a layer without cells
    runs = [
        replace(r, rows=[replace(row, plateau=None, axes={}) for row in r.rows[:1]])
        for r in results.runs
    ]
    bare = replace(results, runs=runs)
    assert [row[0] for row in score_rows(bare)[1]] == ["RAM-GRU", "nn.GRU", "chance"]
    assert cost_rows(bare)[0][-1] == "seconds"  # no pairs, no bits


def test_the_page_names_the_layers_that_the_write_cost_is_charged_to(comparison):
    assert "charged to ramgru layers only" in CHARGED
    assert CHARGED in render(page(comparison))


def test_levers_have_a_section_and_a_table_each(comparison, results):
    variant = "ramgru,gate_bias=1.0"
    more = [replace(run, layer=variant) for run in results.of("ramgru")]
    groups = {"gates": ["ramgru", variant], "cells": ["ramgru", "ramgru,cells=16"]}
    runs = [*results.of("ramgru"), *more]
    shown = replace(comparison, tasks=[replace(results, runs=runs, groups=groups)])
    text = render(page(shown))
    titles = re.findall(r'<h2 id="s\d+">(.*?)</h2>', text)
    assert [title.partition(":")[0] for title in titles] == [
        *("Gates", "Cells", "Inside the memory", "Repeat it"),
    ]
    assert "from the worst to the best variant: gates 95.0 % to 95.0 %" in page(shown).lead
    console = Console(width=100, file=io.StringIO())
    terminal.show(shown, console)
    printed = console.file.getvalue()
    assert "gates: recall on mqar" in printed
    assert "cells: cost on mqar" in printed


def test_the_terminal_shows_the_same_table(comparison):
    console = Console(width=80, file=io.StringIO())
    terminal.show(comparison, console)
    text = console.file.getvalue()
    for phrase in ("recall on mqar", "cost on mqar", "RAM-GRU", "95.0 %", "16 MiB", "0.024 %"):
        assert phrase in text


def test_a_state_that_grows_is_said_to(comparison, results):
    runs = [replace(r, layer="attention") if r.layer == "gru" else r for r in results.runs]
    said = "The state of attention grows with the sequence"
    for shown, expected in ((results, False), (replace(results, runs=runs), True)):
        assert (said in render(page(replace(comparison, tasks=[shown])))) == expected


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
    assert findings.by_training(results) == (
        "95 % recall on held-out data of the training sizes is reached by RAM-GRU after 20 steps; "
        "by nn.GRU never (best 6.2 %)."
    )
    assert occupancy_finding(results.memory.occupancy, "x").startswith(
        "At x, 6 writes go to 2 different cells, 3.1 % of the memory: 0.33 cells a write"
    )
    assert provenance_finding(results.memory.sample).startswith(
        "1 of 2 answers are right. In 1 of 2 reads the largest weight lies on the step at which "
        "the right answer was written; whether the model answers with it"
    )


def test_slices_and_lists_in_words():
    assert slice_text({"pairs": 1024, "length": 4096}) == "1,024 pairs, length 4,096"
    assert slice_text({}) == "the task's own size"
    assert joined(["a"]) == "a"
    assert joined(["a", "b", "c"]) == "a, b and c"


def test_sizes_are_drawn_along_the_axis_with_the_most_of_them(comparison, results):
    assert axis_of(results) == "pairs"
    one = results.runs[0]
    rows = [replace(one.rows[0], axes={"registers": 8, "statements": n}) for n in (16, 32)]
    assert axis_of(replace(results, runs=[replace(one, rows=rows)])) == "statements"
    rows = [replace(one.rows[0], axes={})]
    alone = replace(results, runs=[replace(one, rows=rows)])
    assert axis_of(alone) is None
    assert "evaluated at one size only" in render(page(replace(comparison, tasks=[alone])))


def test_rates_that_were_given_up_or_diverged_are_told(comparison):
    text = render(page(comparison))
    for cell in ("5 (pruned)", "the loss became infinite"):
        assert cell in text


def test_several_tasks_have_a_leaderboard_before_them(two_tasks):
    header, rows, _ = leaderboard_rows(two_tasks)
    assert header == [
        *("layer", "mean above chance", "mqar", "parity"),
        *("state", "train step", "streaming step"),
    ]
    assert [row[0] for row in rows] == ["RAM-GRU", "nn.GRU", "minGRU"]
    # (.9733 and .9833 on mqar, half of the first size on parity) above a chance of 1/4096
    assert rows[0][1].startswith("73.9 %\n")
    assert rows[0][2:4] == ["97.8 %\n91.5 – 100.0", "50.0 %\n50.0 – 50.0"]
    assert rows[1][1:4] == ["–", "2.3 %\n2.3 – 2.3", "–"]
    assert rows[0][4:] == ["16 MiB", "2 µs", "60 µs"]
    text = render(page(two_tasks))
    titles = re.findall(r'<h2 id="s\d+">(.*?)</h2>', text)
    assert titles[:3] == ["Leaderboard", "Over all tasks", "mqar: Scores"]
    assert "parity: Training" in titles
    assert page(two_tasks).lead.endswith("(1 - chance): RAM-GRU 73.9 %.")


def test_the_best_scores_and_costs_are_marked(comparison):
    (results,) = comparison.tasks
    header, _, best_scores = score_rows(results)
    assert {row for row, _ in best_scores} == {0}  # the RAM-GRU, at every size
    assert len(best_scores) == len(header) - 1
    header, rows, best_costs = cost_rows(results)
    marked = {(rows[row][0], header[column]) for row, column in best_costs}
    assert ("nn.GRU", "state") in marked
    assert ("RAM-GRU", "bits held") in marked
    assert not {heading for _, heading in marked} & {"parameters", "steps", "touched"}
    assert best_of([[1.0, 1.0], [None, 2.0], [3.0, 2.0]], [True, True, False]) == {(1, 3)}
    text = render(page(comparison))
    assert text.count("<strong>") == len(best_scores) + len(best_costs)
