"""`ramgru inspect`: show the memory of a trained model while it reads one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab.cli.arguments import split_task
from ramgru.lab.cli.parse import parse
from ramgru.lab.show.inspect import InspectConfig, inspect

DESCRIPTION = """Show the memory of a trained RAM-GRU: `ramgru inspect [RUN] [OPTIONS]`.

RUN is the directory of a run (default: the newest below runs/ that has a memory). For one input,
the page shows the cells that steps wrote and read, the gates, and the write that each answer came
from. Prints a text view and writes one self-contained HTML page.

    ramgru inspect
    ramgru inspect runs/mqar-ramgru --input "2 8 4 7 0 0 4" --cell 17
"""


def run(args: Sequence[str]) -> int:
    inspect(configure(args))
    return 0


def configure(args: Sequence[str]) -> InspectConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(args)
    config = parse(InspectConfig, rest, prog="ramgru inspect", description=DESCRIPTION)
    return config if name is None else replace(config, run=Path(name))
