"""`ramgru report`: draw the report of a comparison or a study again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.taskoptions import split_task
from ramgru.lab.compare.compare import DATA, ReportConfig, report
from ramgru.lab.compare.levers import report as levers

DESCRIPTION = """Draw a report again, without training: `ramgru report [COMPARISON]`.

COMPARISON is the directory that `ramgru compare` or `ramgru study` wrote, or its compare.json or
study.json (default: the newest below runs/).

    ramgru report runs/compare-mqar
    ramgru report runs/study-mqar
"""


def run(args: Sequence[str]) -> int:
    config = configure(args)
    source = config.comparison
    if source.name == levers.DATA or (source / levers.DATA).exists():
        levers.report(source, config.out)
    else:
        report(config)
    return 0


def configure(args: Sequence[str]) -> ReportConfig:
    """The configuration that a command line means. Raises UsageError."""
    name, rest = split_task(args)
    default = ReportConfig(Path(name) if name else _newest())
    return parse(ReportConfig, rest, prog="ramgru report", description=DESCRIPTION, default=default)


def _newest() -> Path:
    root = Path("runs")
    found = [*root.glob(f"**/{DATA}"), *root.glob(f"**/{levers.DATA}")]
    if not found:
        return root
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent
