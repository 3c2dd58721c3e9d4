"""Commands that may follow another, of those that work."""

from __future__ import annotations

from pathlib import Path

from ramgru.lab.train.status import has_memory


def look_inside(*runs: Path) -> list[list[str]]:
    """The command that shows the memory of the first of these runs that has one, if any has."""
    return [["ramgru", "inspect", str(run)] for run in runs if has_memory(run)][:1]
