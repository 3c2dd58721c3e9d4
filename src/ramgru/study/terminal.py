"""The table of a comparison in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from ramgru.study.page import COSTS, table_rows
from ramgru.study.results import Results


def show(results: Results, console: Console) -> None:
    """Print the page's table without its intervals: it fits 80 columns. Our layer is set off."""
    header, rows = table_rows(results)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{results.metric} on {results.task}",
        title_justify="left",
    )
    for place, name in enumerate(header):
        layer = results.layers[place - 1] if 0 < place <= len(results.layers) else ""
        style = "magenta" if layer == "ramgru" else ("" if layer or not place else "dim")
        name = name.replace(" ", "\n") if layer else name
        table.add_column(name, justify="right" if place else "left", style=style, no_wrap=True)
    for place, row in enumerate(rows, 1):
        table.add_row(*(cell.partition("\n")[0] for cell in row), end_section=place == COSTS)
    console.print(table)
