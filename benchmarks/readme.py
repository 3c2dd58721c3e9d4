"""Put results into the README: those of `make run`, and recall for its bytes.

make run && python benchmarks/claims.py state_bytes && python benchmarks/readme.py

The picture of `make run` is for docs/guide/read_the_report.md. What has no results at hand stays as
it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import claims_runs
from claims_bytes import held, title
from claims_page import Found
from claims_rows import Bar
from claims_runs import Record
from claims_state import STATE_BYTES
from pages import DOCS, marked, standalone, table

from ramgru import files
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.results import Results, from_json
from ramgru.lab.compare.tables import best_of
from ramgru.lab.show import plots, svg
from ramgru.lab.show.data import Line
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.sentences import joined
from ramgru.lab.show.theme import look

AXIS = "pairs"
# Of the page's rows, by their bytes; the picture shows all.
SHOWN = (
    *("gru_64", "int8_900", "cells_256"),
    *("window_attention_128", "mamba2_128", "window_attention_1024"),
)


def main() -> None:
    """Write docs/images/recall.svg, and the README between its markers."""
    data = Path("runs/compare-mqar") / DATA
    if data.exists():
        comparison = from_json(data.read_text(encoding="utf-8"), str(data))
        (results,) = comparison.tasks
        files.write(DOCS / "images" / "recall.svg", standalone(draw(results), "recall"))
        machine = ", ".join(f"{key} {value}" for key, value in comparison.machine.items())
        put("make run", [*summary(results), f"Machine: {machine}."])
    if records := claims_runs.read(STATE_BYTES, DOCS / "study" / f"{STATE_BYTES.name}.json"):
        put("state bytes", efficiency(records))


def put(name: str, lines: Sequence[str]) -> None:
    """The README with these lines between the markers of this name."""
    path, begin, end = DOCS.parent / "README.md", f"<!-- {name} -->", f"<!-- end of {name} -->"
    before, rest = path.read_text(encoding="utf-8").split(begin)
    _, after = rest.split(end)
    files.write(path, before + "\n".join([begin, *lines, end]) + after)
    print(f"wrote {path}: {name}")


def efficiency(records: Mapping[str, Record]) -> list[str]:
    """Markdown lines: recall of each model of the page, by its bytes of state."""
    rows_of = {row.name: row for row in STATE_BYTES.rows}
    found = [Found(rows_of[name], records[name]) for name in SHOWN if name in records]
    pairs = [question.axes[AXIS] for question in found[0].row.questions]
    asked = [n for n, count in enumerate(pairs) if count >= 64]
    rows, values = [], []
    for each in found:
        means = [each.of(n, Bar()).score.mean for n in asked]
        values.append([held(each), *means])
        rows.append([title(each), bytes_text(held(each)), *map(percent, means)])
    best = best_of(list(zip(*values)), [False, *(True for _ in asked)])
    return table(["", "state", *(f"{pairs[n]:,} pairs" for n in asked)], marked(rows, best))


def draw(results: Results) -> str:
    """Recall against pairs, as SVG with CSS variables for its colours."""
    sizes = [axes[AXIS] for axes in results.slices()]
    first = results.runs[0].rows
    figure = plots.recall_against_pairs(
        [
            Line(layer, sizes, [results.score(layer, axes) for axes in results.slices()])
            for layer in results.layers
        ],
        trained=results.trained.get(AXIS),
        chance=first[0].chance,
        plateau={row.axes[AXIS]: row.plateau for row in first if row.plateau is not None},
        axis=AXIS,
        metric=results.metric,
    )
    hardest = results.slices()[-1]
    shown = [f"{look(n).label} {percent(results.score(n, hardest).mean)}" for n in results.layers]
    sizes = f"Trained on {results.trained[AXIS]} pairs, asked for {hardest[AXIS]:,}"
    figure = plots.titled(figure, f"{sizes}: {joined(shown)}")
    return svg.inline(figure, results.task, f"{results.metric} against {AXIS}")


def summary(results: Results) -> list[str]:
    """Markdown lines: a column per layer, a row per size."""
    runs = [results.of(layer) for layer in results.layers]
    seconds = [sum(run.seconds for run in each) / len(each) for each in runs]
    rows = [
        ["parameters", *(f"{each[0].parameters:,}" for each in runs), ""],
        ["state of one sequence", *(bytes_text(each[0].state_bytes) for each in runs), ""],
        ["training, seconds", *(f"{value:.0f}" for value in seconds), ""],
    ]
    for row in results.runs[0].rows:
        size = " · ".join(f"{key} {value:,}" for key, value in row.axes.items())
        scores = [percent(results.score(layer, row.axes).mean) for layer in results.layers]
        rows.append([size, *scores, percent(row.chance)])
    return table(["", *(look(layer).label for layer in results.layers), "chance"], rows)


if __name__ == "__main__":
    main()
