"""The report of a study: written when it is made, and drawn again from its saved data."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console

from ramgru.errors import DataError
from ramgru.report import html
from ramgru.study.levers import terminal
from ramgru.study.levers.page import page
from ramgru.study.levers.results import Results, from_json

DATA, REPORT = "study.json", "report.html"


def report(source: Path, out: Path | None = None, *, quiet: bool = False) -> Path:
    """Draw a study's report again, without training; -> its path.

    source: its directory, or its study.json. out: the file; None: report.html beside the data.
    Raises DataError where the data is missing, broken or foreign.
    """
    if source.is_dir():
        source = source / DATA
    try:
        text = source.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {source}: expected what `ramgru study` wrote ({error})"
        ) from error
    console = Console(quiet=quiet, highlight=False)
    return show(from_json(text, str(source)), out or source.with_name(REPORT), console)


def show(results: Results, path: Path, console: Console) -> Path:
    """Write the page, print the table; -> the path of the page."""
    html.write(page(results), path)
    terminal.show(results, console)
    console.print(f"report: {path}", soft_wrap=True)
    return path
