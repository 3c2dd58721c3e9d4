"""`ramgru report`: draw the report of a comparison again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ramgru.cli.parse import parse
from ramgru.cli.taskoptions import split_task
from ramgru.study.compare import ReportConfig, report

DESCRIPTION = """Draw a comparison's report again, without training: `ramgru report [COMPARISON]`.

COMPARISON is the directory that `ramgru compare` wrote, or its compare.json (default: the newest
below runs/).

    ramgru report runs/compare-mqar
"""


def run(args: Sequence[str]) -> int:
    report(configure(args))
    return 0


def configure(args: Sequence[str]) -> ReportConfig:
    """The configuration that a command line means. Raises UsageError."""
    name, rest = split_task(args)
    default = ReportConfig(Path(name) if name else _newest())
    return parse(ReportConfig, rest, prog="ramgru report", description=DESCRIPTION, default=default)


def _newest() -> Path:
    found = list(Path("runs").glob("**/compare.json"))
    if not found:
        return Path("runs")
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent
