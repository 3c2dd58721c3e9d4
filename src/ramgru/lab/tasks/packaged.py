"""Data that other packages ship: read from where they are installed, never imported or copied."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ramgru.errors import DataError


def lines(package: str, place: str, *, extra: str, task: str) -> list[str]:
    """The lines of a text file within an installed package, which is not imported.

    place: the file's path below the package;  extra, task: named in the error
    Raises DataError, with the command that helps, where the package or the file is missing.
    """
    command = f"pip install 'ramgru[{extra}]'"
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"task {task} needs {package}, which is not installed: {command}")
    path = Path(spec.submodule_search_locations[0], *place.split("/"))
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(
            f"task {task} needs {place} of {package}, and the installed version has none that can "
            f"be read: {command}"
        ) from error
