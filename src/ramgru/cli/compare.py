"""`ramgru compare`: train several layers with one budget, and lay them side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.cli.parse import parse
from ramgru.study.compare import CompareConfig, compare


def run(args: Sequence[str]) -> int:
    compare(configure(args))
    return 0


def configure(args: Sequence[str]) -> CompareConfig:
    """The configuration that a command line means. Raises UsageError."""
    return parse(
        CompareConfig, args, prog="ramgru compare", description=CompareConfig.__doc__ or ""
    )
