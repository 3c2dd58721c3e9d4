"""A hook of mkdocs: links to files outside docs/ become text, since the site lacks them."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """The page without links that leave docs/."""
    depth = len(PurePosixPath(page.file.src_uri).parts) - 1
    outside = "../" * (depth + 1)
    return re.sub(rf"\[([^\]]+)\]\({re.escape(outside)}[^)]*\)", r"\1", markdown)
