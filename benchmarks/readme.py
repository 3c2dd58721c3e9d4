"""Put what `make run` found into the README: its table, and the picture above it.

make run && python benchmarks/readme.py
"""

from __future__ import annotations

from pathlib import Path

from pages import DOCS, standalone

from ramgru import files
from ramgru.lab.compare.compare import DATA
from ramgru.lab.compare.results import Comparison, Results, from_json
from ramgru.lab.show import plots, svg
from ramgru.lab.show.data import Line
from ramgru.lab.show.plots import bytes_text, percent
from ramgru.lab.show.theme import look


def main() -> None:
    """Put what `make run` found into the README, between its markers."""
    data = Path("runs/compare-mqar") / DATA
    comparison = from_json(data.read_text(encoding="utf-8"), str(data))
    (results,) = comparison.tasks
    files.write(DOCS / "images" / "recall.svg", standalone(draw(results), "recall"))
    path = DOCS.parent / "README.md"
    before, rest = path.read_text(encoding="utf-8").split("<!-- make run -->")
    _, after = rest.split("<!-- end -->")
    text = "\n".join(["<!-- make run -->", *table(results), "", machine(comparison)])
    files.write(path, before + text + "\n<!-- end -->" + after)
    print(f"wrote {path}")


def draw(results: Results) -> str:
    """Recall against pairs, as SVG with CSS variables for its colours."""
    axis = "pairs"
    lines, sizes = [], [axes[axis] for axes in results.slices()]
    for layer in results.layers:
        scores = [results.score(layer, axes) for axes in results.slices()]
        lines.append(Line(layer, sizes, scores))
    plateau = {row.axes[axis]: row.plateau for row in results.runs[0].rows}
    figure = plots.recall_against_pairs(
        lines,
        trained=results.trained.get(axis),
        chance=results.runs[0].rows[0].chance,
        plateau={x: value for x, value in plateau.items() if value is not None},
        axis=axis,
        metric=results.metric,
    )
    return svg.inline(figure, results.task, f"{results.metric} against {axis}")


def table(results: Results) -> list[str]:
    """Markdown lines: a column a layer, a row a size."""
    layers = results.layers
    names = [look(layer).label for layer in layers]
    first = [results.of(layer)[0] for layer in layers]
    seconds = [[run.seconds for run in results.of(layer)] for layer in layers]
    lines = [
        f"| | {' | '.join(names)} | chance |",
        "|---|" + "---:|" * (len(names) + 1),
        row("parameters", [f"{run.parameters:,}" for run in first], ""),
        row("state of one sequence", [bytes_text(run.state_bytes) for run in first], ""),
        row("training, seconds", [f"{sum(each) / len(each):.0f}" for each in seconds], ""),
    ]
    for place, axes in enumerate(results.slices()):
        cells = []
        for layer in layers:
            score = results.score(layer, axes)
            cells.append(percent(score.mean))
        where = " · ".join(f"{key} {value:,}" for key, value in axes.items())
        lines.append(row(where, cells, percent(results.runs[0].rows[place].chance)))
    return lines


def machine(results: Comparison) -> str:
    return f"Machine: {', '.join(f'{key} {value}' for key, value in results.machine.items())}."


def row(name: str, cells: list[str], last: str) -> str:
    return f"| {name} | {' | '.join(cells)} | {last} |"


if __name__ == "__main__":
    main()
