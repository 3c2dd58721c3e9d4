"""One self-contained HTML page of tables, text, code and pictures with captions.

No network, no remote fonts, and no script but that of the interactive view; light and dark; every
text is escaped here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from html import escape as _escape
from pathlib import Path
from typing import Protocol

from matplotlib.figure import Figure

from ramgru import files
from ramgru.errors import RamgruError
from ramgru.lab.show.svg import inline
from ramgru.lab.show.theme import css_variables

GENERATOR = '<meta name="generator" content="ramgru">'
_HEAD = 4096  # bytes of a page, among which GENERATOR stands
_CSS = Path(__file__).with_name("report.css")


@dataclass(frozen=True)
class Table:
    """Rows under a header; the first cell of a row is the row's header.

    A cell may hold two lines; the second is set small. `ours`: labels of the rows to highlight.
    best: cells to mark, as (row, column), counted from 0 with the first cell of each row
    text: cells hold words instead of numbers, so they are aligned left and wrapped.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    ours: Collection[str] = ()
    text: bool = False
    best: Collection[tuple[int, int]] = ()

    def html(self, name: str) -> str:
        kind = ' class="text"' if self.text else ""
        head = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in self.header)
        body = []
        for number, (first, *rest) in enumerate(self.rows):
            mark = ' class="ours"' if first in self.ours else ""
            cells = "".join(
                f"<td>{_two_lines(cell, best=(number, place) in self.best)}</td>"
                for place, cell in enumerate(rest, 1)
            )
            body.append(f'<tr{mark}><th scope="row">{escape(first)}</th>{cells}</tr>')
        caption = escape(self.caption) + ("; the best is marked" if self.best else "")
        return (
            f'<div class="table" tabindex="0" role="region" aria-label="{caption}">'
            f"<table{kind}><caption>{caption}</caption>"
            f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(body) + "</tbody></table></div>"
        )


@dataclass(frozen=True)
class Picture:
    """A figure, its text alternative, and its title: the finding that it supports."""

    figure: Figure
    alt: str
    finding: str

    def html(self, name: str) -> str:
        svg = inline(self.figure, name, self.alt)
        return f"<figure><figcaption>{escape(self.finding)}</figcaption>{svg}</figure>"


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str

    def html(self, name: str) -> str:
        return f"<p>{escape(self.text)}</p>"


@dataclass(frozen=True)
class Code:
    """Text to copy; folded away under `summary` if there is one."""

    code: str
    summary: str | None = None

    def html(self, name: str) -> str:
        block = f'<pre tabindex="0"><code>{_escape(self.code)}</code></pre>'
        if self.summary is None:
            return block
        return f"<details><summary>{escape(self.summary)}</summary>{block}</details>"


class Part(Protocol):
    """What stands below a heading."""

    def html(self, name: str) -> str:
        """The part as HTML. name: unique in the page, for its ids."""
        ...


@dataclass(frozen=True)
class Section:
    """A heading and the parts below it."""

    title: str
    parts: Sequence[Part]


@dataclass(frozen=True)
class Page:
    """A report: its title, its result in one sentence, its sections.

    css, script: what a part needs beyond the style of every page
    """

    title: str
    lead: str
    sections: Sequence[Section]
    footer: str = ""
    css: str = ""
    script: str = ""


def facts(caption: str, values: Mapping[str, str]) -> Table:
    """A two-column table of names and values."""
    return Table(caption, ("what", "value"), [(k, v) for k, v in values.items()], text=True)


def render(page: Page) -> str:
    """The page as one HTML text."""
    sections = []
    for number, section in enumerate(page.sections, 1):
        parts = "\n".join(
            part.html(f"s{number}p{index}") for index, part in enumerate(section.parts, 1)
        )
        sections.append(
            f'<section aria-labelledby="s{number}">'
            f'<h2 id="s{number}">{escape(section.title)}</h2>\n{parts}</section>'
        )
    footer = f"<footer>{escape(page.footer)}</footer>" if page.footer else ""
    script = f"<script>\n{page.script}</script>\n" if page.script else ""
    css = css_variables() + _CSS.read_text(encoding="utf-8") + page.css
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
{GENERATOR}
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{escape(page.title)}</title>
<style>
{css}</style>
</head>
<body>
<header><h1>{escape(page.title)}</h1><p class="lead">{escape(page.lead)}</p></header>
<main>
{chr(10).join(sections)}
</main>
{footer}
{script}</body>
</html>
"""


def write(page: Page, path: str | os.PathLike[str]) -> Path:
    """Write a page atomically, along with its folder.

    Raises RamgruError if the file or its folder cannot be written, and as `check_target` does.
    """
    target, text = Path(path), render(page)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RamgruError(f"cannot make the folder {target.parent}: {error.strerror}") from error
    return files.write(target, text)


def check_target(path: Path) -> None:
    """Raise RamgruError if `path` is a file that ramgru did not write, which stays as it is."""
    try:
        with files.open_regular(path) as file:
            head = file.read(_HEAD)
    except OSError:
        return  # no such file, or one of which the write tells what is wrong
    if head and GENERATOR.encode() not in head:
        raise RamgruError(
            f"cannot write {path}: it is there, and is no page of ramgru; move it, or give --out "
            "another name"
        )


def escape(text: str) -> str:
    """Text as HTML, with a no-break space between a number and its %."""
    return re.sub(r"(?<=\d) %", "\N{NO-BREAK SPACE}%", _escape(text))


def _two_lines(cell: str, *, best: bool) -> str:
    first, _, second = cell.partition("\n")
    shown = f"<strong>{escape(first)}</strong>" if best else escape(first)
    return shown + (f"<small>{escape(second)}</small>" if second else "")
