"""The table of a study in the terminal."""

from __future__ import annotations

from rich import box
from rich.console import Console
from rich.table import Table

from ramgru.lab.compare.levers.points import DEFAULT
from ramgru.lab.compare.levers.results import Results
from ramgru.lab.compare.levers.tables import short_rows
from ramgru.lab.show.sentences import slice_text


def show(results: Results, console: Console) -> None:
    """Print what matters most of every point; the default is set off."""
    header, rows = short_rows(results)
    hardest = slice_text(results.rows()[-1].axes)
    table = Table(
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        title=f"{results.metric} on {results.task} at {hardest}, and what it takes",
        title_justify="left",
    )
    for place, name in enumerate(header):
        table.add_column(name, justify="right" if place else "left", no_wrap=True)
    for row in rows:
        table.add_row(*row, style="magenta" if row[0] == DEFAULT else "")
    console.print(table)
