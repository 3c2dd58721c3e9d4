"""Open a page in a browser, where there is a display to show it."""

from __future__ import annotations

import os
import sys
import webbrowser
from collections.abc import Sequence
from pathlib import Path

OPEN = ("--open", "Show it in a browser, where there is a display")


def take_open(args: Sequence[str]) -> tuple[bool, list[str]]:
    """Whether --open is given, and the other arguments."""
    return "--open" in args, [arg for arg in args if arg != "--open"]


def open_page(path: Path) -> bool:
    """Show a file in a browser; -> whether there was one. Not where nobody looks at a terminal."""
    windowed = sys.platform in ("darwin", "win32")
    display = windowed or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    if not display or not sys.stdout.isatty():
        return False
    return webbrowser.open(path.resolve().as_uri())
