"""`ramgru compare`: train several layers with one budget, and lay them side by side."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.cli.sized import configured
from ramgru.study.compare import compare
from ramgru.study.config import CompareConfig

DESCRIPTION = """Train layers beside each other: `ramgru compare [TASK] [OPTIONS]`.

RAM-GRU, nn.GRU and minGRU learn the same task with the same budget, and are then asked at sizes
far beyond it. Ends in a table and one self-contained HTML report. Killed at any moment, the same
command goes on where it was.

    ramgru compare
    ramgru compare parity --steps 500 --layers ramgru gru
    ramgru compare --layers ramgru attention gated_deltanet

"""


def run(args: Sequence[str]) -> int:
    compare(configure(args))
    return 0


def configure(args: Sequence[str]) -> CompareConfig:
    """The configuration that a command line means. Raises UsageError."""
    return configured(CompareConfig, args, "compare", DESCRIPTION)
