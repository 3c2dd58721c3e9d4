"""A matplotlib figure as inline SVG with CSS variables for colours.

It refers to nothing outside the page, and ids of different pictures never collide.
"""

from __future__ import annotations

import io
import re
from html import escape

from matplotlib.figure import Figure

from ramgru.lab.show.theme import PALETTE, style

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
        figure.savefig(buffer, format="svg", metadata=nothing)
    text = buffer.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = re.sub(r"<!--.*?-->\n?", "", text, flags=re.DOTALL)
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


def _own_ids(text: str, name: str) -> str:
    text = re.sub(r'\bid="([^"]+)"', rf'id="{name}-\1"', text)
    text = re.sub(r'(?:xlink:)?href="#([^"]+)"', rf'href="#{name}-\1"', text)
    text = text.replace('xlink:href="data:', 'href="data:')
    return re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", text)


def _page_colors(text: str) -> str:
    for role, (light, _) in PALETTE.items():
        text = text.replace(f": {light}", f": var(--{role}, {light})")
    return text
