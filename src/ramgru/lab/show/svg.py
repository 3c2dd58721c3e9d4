"""A matplotlib figure as inline SVG with CSS variables for colours.

It refers to nothing outside the page, and ids of different pictures never collide. A pointer that
rests on a mark shows its numbers, by a `<title>`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure

from ramgru.lab.show.theme import PALETTE, style

HOVER = "_hover "  # begins the label of a bar whose other words a pointer shows
NO_MARK = (None, "None", "none", "", " ")
UNNAMED = ("nolegend", "child")  # matplotlib's own labels
_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"


def inline(figure: Figure, name: str, alt: str) -> str:
    """`<svg>…</svg>` of a figure, for an HTML page.

    name: unique in the page, of letters, digits and dashes; it prefixes every id.
    alt: the text alternative for readers who cannot see the picture.
    """
    if not re.fullmatch(r"[A-Za-z][A-Za-z0-9-]*", name):
        raise ValueError(f"name: expected a letter, then letters, digits or dashes, got {name!r}")
    buffer = io.StringIO()
    nothing = {"Date": None, "Creator": None, "Format": None, "Type": None}
    with style():
        if figure.get_layout_engine() is not None:
            figure.draw_without_rendering()
            figure.set_layout_engine("none")  # a second layout would change positions and ids
        titles = _name_marks(figure)
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
    text = _with_titles(text, titles)
    text = _own_ids(text, name)
    text = _page_colors(text)
    text = re.sub(r"(font: [^;\"]*?px )[^;\"]*", rf"\g<1>{_FONT}", text)
    # HTML needs no namespaces, and the page's style sheet sets the size.
    head, body = text.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    assert box is not None  # matplotlib always writes one
    title = escape(alt)
    opening = f'<svg {box.group()} role="img" aria-labelledby="{name}-title"'
    return f'{opening}><title id="{name}-title">{title}</title>{body.rstrip()}'


def _name_marks(figure: Figure) -> dict[str, list[str]]:
    """Give an id to each line with marks and to each bar of `hover`; -> the words of its marks."""
    found: dict[str, list[str]] = {}
    for axes in figure.axes:
        whole = {
            id(one[0]): str(one.get_label())
            for one in axes.containers
            if isinstance(one, ErrorbarContainer)
        }
        for line in axes.lines:
            label = whole.get(id(line), str(line.get_label()).lstrip("_"))
            if line.get_marker() in NO_MARK or label.startswith(UNNAMED):
                continue
            line.set_gid(f"marks-{len(found)}")
            every: Any = line.get_markevery()  # None, or a slice
            marks = np.asarray(line.get_xydata())[every or slice(None)]
            found[str(line.get_gid())] = [
                label if id(line) in whole else _numbers(axes, label, x, y) for x, y in marks
            ]
        for patch in axes.patches:
            if str(patch.get_label()).startswith(HOVER):
                patch.set_gid(f"bar-{len(found)}")
                found[str(patch.get_gid())] = [str(patch.get_label()).removeprefix(HOVER)]
    return found


def _numbers(axes: Axes, label: str, x: float, y: float) -> str:
    """`nn.GRU: recall 6.2 %, pairs 16`"""
    across, up = axes.get_xlabel(), axes.get_ylabel()
    return f"{label}: {up} {axes.format_ydata(y)}, {across} {axes.format_xdata(x)}"


def _with_titles(text: str, titles: Mapping[str, Sequence[str]]) -> str:
    """The picture with a `<title>` in each mark, which is a `<use>` of a line, and in each bar."""
    for name, words in titles.items():
        before, group, after = text.partition(f'<g id="{name}">')
        made = [f"<title>{escape(word)}</title>" for word in words]
        if name.startswith("bar"):
            text = before + group + made[0] + after
            continue
        pieces = re.split(r"(<use [^>]*)/>", after, maxsplit=len(made))
        for place, title in zip(range(1, len(pieces), 2), made, strict=True):
            pieces[place] += f">{title}</use>"
        text = before + group + "".join(pieces)
    return text


def _own_ids(text: str, name: str) -> str:
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = text.replace('xlink:href="data:', 'href="data:')
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)


def _page_colors(text: str) -> str:
    for role, (light, _) in PALETTE.items():
        text = text.replace(f": {light}", f": var(--{role}, {light})")
    return text
