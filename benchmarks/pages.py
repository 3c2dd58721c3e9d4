"""What the written pages share: their place, tables, and pictures that stand alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ramgru.lab.show.theme import css_variables

DOCS = Path(__file__).parents[1] / "docs"
COMMAND = "python benchmarks/claims.py"


def standalone(picture: str, name: str) -> str:
    """An SVG file that follows the reader's light or dark page by itself."""
    head, body = picture.split(">", 1)
    head = head.replace("<svg", '<svg xmlns="http://www.w3.org/2000/svg"')
    return f"{head}><style>{css_variables()}</style>{body}\n"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Markdown lines, followed by an empty one."""
    lines = [f"| {' | '.join(cells)} |" for cells in (header, *rows)]
    return [lines[0], "|---|" + "---:|" * (len(header) - 1), *lines[1:], ""]
