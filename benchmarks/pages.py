"""What the written pages share: their place, tables, and pictures that stand alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from matplotlib.figure import Figure

from ramgru import files
from ramgru.lab.show import svg
from ramgru.lab.show.theme import css_variables

DOCS = Path(__file__).parents[1] / "docs"
COMMAND = "python benchmarks/claims.py"


def standalone(picture: str, name: str) -> str:
    """An SVG file that follows the reader's light or dark page by itself."""
    head, body = picture.split(">", 1)
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}><style>{css_variables()}</style>{body}\n"


def picture(figure: Figure, page: str, name: str, alt: str, docs: Path, up: str = "") -> list[str]:
    """Write a picture of a page; -> the Markdown lines that show it. up: from the page to `docs`"""
    (docs / "images" / page).mkdir(parents=True, exist_ok=True)
    path = f"images/{page}/{name}.svg"
    drawn = svg.inline(figure, f"{page}-{name}".replace("_", "-"), alt)
    files.write(docs / path, standalone(drawn, name))
    return [f"![{alt}]({up}{path})", ""]


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown lines, followed by an empty one. A cell may hold several lines."""
    lines = [f"| {' | '.join(cells)} |".replace("\n", "<br>") for cells in (header, *rows)]
    return [lines[0], "|---|" + "---:|" * (len(header) - 1), *lines[1:], ""]


def marked(rows: Sequence[Sequence[str]], best: Collection[tuple[int, int]]) -> list[list[str]]:
    """The rows with the first line of these cells (row, column) in bold, but for columns in which
    more than a third of the rows are best."""
    count = Counter(column for _, column in best)
    return [
        [
            _bold(cell) if (r, c) in best and 3 * count[c] <= len(rows) else cell
            for c, cell in enumerate(row)
        ]
        for r, row in enumerate(rows)
    ]


def _bold(cell: str) -> str:
    first, newline, rest = cell.partition("\n")
    return f"**{first}**{newline}{rest}"
