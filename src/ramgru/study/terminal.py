"""The table of a comparison in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ramgru.study.page import table_rows
from ramgru.study.results import Results


def show(results: Results, console: Console) -> None:
    """Print layer × slices; a line a layer, our own set off, no interval where it gets narrow."""
    header, rows = table_rows(results)
    ours = results.layers.index("ramgru") if "ramgru" in results.layers else -1
    console.print(_table(results, header, rows, ours))


def _table(results: Results, header: list[str], rows: list[list[str]], ours: int) -> Table:
    table = Table(
        box=box.SIMPLE_HEAD, title=f"{results.metric} on {results.task}", title_justify="left"
    )
    for number, name in enumerate(header):
        # "16 pairs, length 64" breaks after the comma: two short lines make a narrow column
        text = Text(name.replace(", ", "\n"))
        table.add_column(text, justify="left" if number == 0 else "right", no_wrap=True)
    for number, row in enumerate(rows):
        style = "magenta" if number == ours else ("dim" if number >= len(results.layers) else "")
        cells = [Text(cell.partition("\n")[0]) for cell in row]
        table.add_row(*cells, style=style)
    return table
