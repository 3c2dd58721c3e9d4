"""The tables of a comparison in the terminal: each task's, and the leaderboard of several."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from ramgru.lab.compare.page import leaderboard_rows
from ramgru.lab.compare.results import Comparison, Results
from ramgru.lab.compare.task_page import COSTS, table_rows
from ramgru.lab.show.theme import look

MOST_COLUMNS = 5  # layers side by side; of more, each has a row of its own
MOST_NUMBERS = 6  # columns beside the names of layers


def show(comparison: Comparison, console: Console) -> None:
    """Print every task's table without its intervals, then the leaderboard. Ours is set off."""
    for results in comparison.tasks:
        _task(results, console)
    if len(comparison.tasks) > 1:
        header, rows = leaderboard_rows(comparison)
        ours = {look(layer).label for layer in comparison.layers if _is_ours(layer)}
        _layers(f"mean over {len(comparison.tasks)} tasks", header, rows, ours, console)


def _task(results: Results, console: Console) -> None:
    header, rows = table_rows(results)
    title = f"{results.metric} on {results.task}"
    layers = results.layers
    if len(layers) > MOST_COLUMNS:
        turned = [list(cells) for cells in zip(header, *rows, strict=True)]
        ours = {name for name, layer in zip(header[1:], layers) if _is_ours(layer)}
        _layers(title, ["layer", *turned[0][1:]], turned[1:], ours, console)
        return
    table = _table(title)
    for place, name in enumerate(header):
        layer = layers[place - 1] if 0 < place <= len(layers) else ""
        style = "magenta" if _is_ours(layer) else ("" if layer or not place else "dim")
        name = name.replace(" ", "\n") if layer else name
        table.add_column(name, justify="right" if place else "left", style=style, no_wrap=True)
    for place, row in enumerate(rows, 1):
        table.add_row(*map(_first_line, row), end_section=place == COSTS)
    console.print(table)


def _layers(
    title: str,
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    ours: set[str],
    console: Console,
) -> None:
    """A layer a row; as many tables below each other as the columns need."""
    for start in range(1, len(header), MOST_NUMBERS):
        shown = range(start, min(start + MOST_NUMBERS, len(header)))
        table = _table(title if start == 1 else "")
        table.add_column(header[0], no_wrap=True)
        for place in shown:
            # Long names are broken where they can be, so that numbers keep their room.
            name = header[place].replace(", ", "\n").replace("_", "_\n").replace(" ", "\n")
            table.add_column(name, justify="right", no_wrap=True)
        for row in rows:
            cells = [row[0], *(row[place] for place in shown)]
            table.add_row(*map(_first_line, cells), style="magenta" if row[0] in ours else "")
        console.print(table)


def _table(title: str) -> Table:
    return Table(box=box.SIMPLE_HEAD, pad_edge=False, title=title, title_justify="left")


def _first_line(cell: str) -> str:
    return cell.partition("\n")[0]


def _is_ours(layer: str) -> bool:
    return layer.split(",")[0] == "ramgru"
