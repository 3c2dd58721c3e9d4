"""Put the results of `make run` into the README: its table, and the picture above the table.

make run && python benchmarks/readme.py
"""

from __future__ import annotations

from pathlib import Path

from pages import DOCS, standalone, table

from ramgru import files
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.results import Results, from_json
from ramgru.lab.show import plots, svg
from ramgru.lab.show.data import Line
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.theme import look

AXIS = "pairs"
BEGIN, END = "<!-- make run -->", "<!-- end -->"


def main() -> None:
    """Write docs/images/recall.svg, and the README between its markers."""
    data = Path("runs/compare-mqar") / DATA
    comparison = from_json(data.read_text(encoding="utf-8"), str(data))
    (results,) = comparison.tasks
    files.write(DOCS / "images" / "recall.svg", standalone(draw(results), "recall"))
    path = DOCS.parent / "README.md"
    before, rest = path.read_text(encoding="utf-8").split(BEGIN)
    _, after = rest.split(END)
    machine = ", ".join(f"{key} {value}" for key, value in comparison.machine.items())
    text = "\n".join([BEGIN, *summary(results), f"Machine: {machine}.", END])
    files.write(path, before + text + after)
    print(f"wrote {path}")


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
