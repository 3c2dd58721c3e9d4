"""The report of a study: written when it is made, and drawn again from its saved data."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ramgru.lab.compare import saved
from ramgru.lab.compare.levers import terminal
from ramgru.lab.compare.levers.page import page
from ramgru.lab.compare.levers.results import Results, from_json
from ramgru.lab.show import html

DATA, REPORT = "study.json", "report.html"


def report(source: Path, out: Path | None = None, *, quiet: bool = False) -> Path:
    """Draw a study's report again, without training; -> its path.

    source: its directory, or its study.json. out: the file; None: report.html beside the data.
    Raises DataError where the data is missing, broken or foreign.
    """
    path, text = saved.read(source, DATA, "study")
    console = Console(quiet=quiet, highlight=False)
    return show(from_json(text, str(path)), out or path.with_name(REPORT), console)


def show(results: Results, path: Path, console: Console) -> Path:
    """Write the page, print the table; -> the path of the page."""
    html.write(page(results), path)
    terminal.show(results, console)
    console.print(f"report: {path}", soft_wrap=True)
    return path
