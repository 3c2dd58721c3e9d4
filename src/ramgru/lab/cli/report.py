"""`ramgru report`: draw the report of a comparison again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ramgru.lab.cli.arguments import split_task
from ramgru.lab.cli.parse import parse
from ramgru.lab.compare.compare import DATA, ReportConfig, report

DESCRIPTION = """Draw a report again, without training: `ramgru report [COMPARISON]`.

COMPARISON is the directory of `ramgru compare`, or its compare.json (default: the newest below
runs/).

    ramgru report runs/compare-mqar
"""


def run(args: Sequence[str]) -> int:
    report(configure(args))
    return 0


def configure(args: Sequence[str]) -> ReportConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(args)
    default = ReportConfig(Path(name) if name else _newest())
    return parse(ReportConfig, rest, prog="ramgru report", description=DESCRIPTION, default=default)


def _newest(root: Path = Path("runs")) -> Path:
    found = list(root.glob(f"**/{DATA}"))
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent if found else root
