"""The tables of a comparison in the terminal."""

from __future__ import annotations

from collections.abc import Collection

from rich import box, table
from rich.console import Console
from rich.text import Text

from ramgru.lab.compare.results import Comparison
from ramgru.lab.compare.tables import (
    Table,
    cost_rows,
    is_ours,
    label,
    leaderboard_rows,
    score_rows,
)

WIDTH = 12  # characters that a column takes at most; columns without room continue in a table below


def show(comparison: Comparison, console: Console) -> None:
    """Print each task's scores and costs, lever by lever, then the leaderboard of several tasks."""
    for results in comparison.tasks:
        for lever, layers in (results.groups or {"": results.layers}).items():
            shown, what = results.only(layers), f"{lever}: " if lever else ""
            ours = {label(shown, layer) for layer in shown.layers if is_ours(layer)}
            _print(f"{what}{results.metric} on {results.task}", score_rows(shown), ours, console)
            _print(f"{what}cost on {results.task}", cost_rows(shown), ours, console)
    if len(comparison.tasks) > 1:
        title = f"mean over {len(comparison.tasks)} tasks"
        ours = {label(comparison, layer) for layer in comparison.layers if is_ours(layer)}
        _print(title, leaderboard_rows(comparison), ours, console)


def _print(title: str, made: Table, ours: Collection[str], console: Console) -> None:
    """Print the rows without their intervals; the best cells are bold."""
    header, rows, best = made
    most = max(1, console.width // WIDTH)
    for start in range(1, len(header), most):
        shown = range(start, min(start + most, len(header)))
        grid = table.Table(
            box=box.SIMPLE_HEAD,
            pad_edge=False,
            title=title if start == 1 else "",
            title_justify="left",
        )
        grid.add_column(header[0])
        for place in shown:
            name = header[place].replace(", ", "\n").replace("_", "_\n").replace(" ", "\n")
            grid.add_column(name, justify="right", no_wrap=True)
        for number, row in enumerate(rows):
            style = "magenta" if row[0] in ours else ""
            style = "dim" if row[0] in ("chance", "plateau") else style
            cells: list[str | Text] = [
                row[0].replace(", ", ",\n"),
                *(
                    Text(row[place].partition("\n")[0], "bold" if (number, place) in best else "")
                    for place in shown
                ),
            ]
            grid.add_row(*cells, style=style)
        console.print(grid)
