"""`ramgru report`: draw the report of a comparison again."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ramgru.lab.cli.arguments import split_task
from ramgru.lab.cli.browse import OPEN, open_page, take_open
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.compare.compare import DATA, ReportConfig, report

SCREEN = Screen(
    command="report",
    call="[COMPARISON] [OPTIONS]",
    about="Draw the report of a comparison again, without training. COMPARISON is the directory of "
    "`ramgru compare`, or its compare.json; without it, the newest one below runs/.",
    examples=("ramgru report runs/compare-mqar --open",),
    shown={"report": ("out", OPEN)},
)


def run(args: Sequence[str]) -> int:
    wanted, args = take_open(args)
    config = configure(args)
    path = report(config)
    if wanted:
        open_page(path)
    folder = config.comparison
    suggest(["ramgru", "runs", str(folder if folder.is_dir() else folder.parent)])
    return 0


def configure(args: Sequence[str]) -> ReportConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(args)
    default = ReportConfig(Path(name) if name else _newest())
    return parse(ReportConfig, rest, screen=SCREEN, default=default)


def _newest(root: Path = Path("runs")) -> Path:
    found = list(root.glob(f"**/{DATA}"))
    return max(found, key=lambda path: path.stat().st_mtime_ns).parent if found else root
