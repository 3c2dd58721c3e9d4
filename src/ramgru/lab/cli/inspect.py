"""`ramgru inspect`: show the memory of a trained model while it reads one input."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab.cli.arguments import split_task
from ramgru.lab.cli.browse import OPEN, open_page, take_open
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.show.inspect import InspectConfig, inspect, newest_with_memory

SCREEN = Screen(
    command="inspect",
    call="[RUN] [OPTIONS]",
    about="Show the memory of a trained RAM-GRU while it reads one input: a text view, and one "
    "self-contained HTML page. RUN is the directory of a run; without it, the newest one below "
    "runs/ that has a memory.",
    examples=(
        "ramgru inspect --open",
        "ramgru inspect runs/text-ramgru --file my.log",
        'ramgru inspect runs/mqar-ramgru --input "2 8 4 7 0 0 4" --cell 17',
    ),
    shown={
        "input": ("input", "file", "seed"),
        "look at": ("beside", "block", "head", "cell"),
        "page": ("out", OPEN),
    },
    details="""The page shows the cells that steps wrote and read, the gates, and the writes that
    each answer came from, with their exact weights.""",
)


def run(args: Sequence[str]) -> int:
    wanted, args = take_open(args)
    config = configure(args)
    config = replace(config, run=config.run or newest_with_memory())
    page = inspect(config)
    if wanted:
        open_page(page)
    run = str(config.run)
    suggest(["ramgru", "inspect", run, "--seed", str(config.seed + 1)], ["ramgru", "runs", run])
    return 0


def configure(args: Sequence[str]) -> InspectConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(args)
    config = parse(InspectConfig, rest, screen=SCREEN)
    return config if name is None else replace(config, run=Path(name))
