"""Results that were saved as JSON: found, read, and taken apart, or refused by name."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ramgru.errors import DataError

Results = TypeVar("Results")


def read(source: Path, name: str, command: str) -> tuple[Path, str]:
    """The file and its text. source: the file, or the directory where it is called `name`.

    command: what wrote it, for the error message.
    Raises DataError where it cannot be read.
    """
    path = source / name if source.is_dir() else source
    try:
        return path, path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"cannot read {path}: expected what `ramgru {command}` wrote ({error})"
        ) from error


def parsed(
    text: str, source: str, what: str, form: str, build: Callable[[dict[str, Any]], Results]
) -> Results:
    """What `build` makes of the JSON values in `text`, whose "format" has to be `form`.

    source, what: where the text is from and what it should be, for the error message.
    Raises DataError: not JSON, of another format, or incomplete.
    """
    try:
        data = json.loads(text)
    except ValueError as error:
        raise DataError(f"{source} must hold JSON, but: {error}") from error
    found = data.get("format") if isinstance(data, dict) else None
    if found != form:
        raise DataError(f"{source} must hold a {what} of format {form!r}, got {found!r}")
    try:
        return build({name: value for name, value in data.items() if name != "format"})
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(f"{source} is not a whole {what}: {error!r}") from error
