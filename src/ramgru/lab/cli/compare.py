"""`ramgru compare`: train several layers with the same budget and report their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ramgru.lab.cli.arguments import OWN_LAYER, listing, split_tasks, take
from ramgru.lab.cli.browse import OPEN, open_page, take_open
from ramgru.lab.cli.following import look_inside
from ramgru.lab.cli.parse import UsageError, parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.compare.compare import compare
from ramgru.lab.compare.config import CompareConfig, sized
from ramgru.lab.compare.runs import Interrupted
from ramgru.lab.train.layers import LAYERS

SCREEN = Screen(
    command="compare",
    call="[TASK …] [OPTIONS]",
    about="Train layers with the same budget and report their scores at sizes far beyond training. "
    "Killed at any moment, the same command resumes.",
    examples=(
        "ramgru compare",
        "ramgru compare mqar parity --layers ramgru gru attention --jobs 2",
        "ramgru compare mqar --layer my_module:MyLayer",
        "ramgru compare mqar --equal state --lr 1e-3 3e-3 --seeds 0 1 2",
    ),
    shown={
        "layers": ("layers", OWN_LAYER, "levers"),
        "budget": ("equal", "steps", "lr", "seeds"),
        "report": ("out", OPEN),
        "machine": ("jobs",),
    },
    details=f"""The result is a table for each task, a leaderboard of several tasks, one
    self-contained HTML report, and all numbers as CSV and JSON (and Parquet, with pyarrow). The
    write cost, an auxiliary loss on open update gates, is charged to ramgru layers only. A TASK
    may have its sizes after commas (copy,length=10), and a layer its options
    (attention,positions=rope); --task.* are the sizes of the first task.

    Layers: {", ".join(LAYERS)}.

    """
    + listing(),
)


def run(args: Sequence[str]) -> int:
    """The exit code: 0, or 128 + the signal's number if training was interrupted."""
    wanted, args = take_open(args)
    several = any(arg.split("=")[0] == "--seeds" for arg in args)
    config = configure(args)
    try:
        path = compare(config)
    except Interrupted as error:
        print(error)
        return 128 + (error.signal or 2)
    if wanted:
        open_page(path)
    ours = sorted(config.folder.glob(f"{config.task.name}-ramgru*/model"))
    suggest(
        ["ramgru", "runs", str(config.folder)],
        *look_inside(*(model.parent for model in ours)),
        *([] if several else [["ramgru", "compare", *args, "--seeds", "0", "1", "2"]]),
    )
    return 0


def configure(args: Sequence[str]) -> CompareConfig:
    """The configuration of a command line. Raises UsageError."""
    own, rest = take(args)
    names, rest = split_tasks(rest)
    try:
        task = sized(names[0] if names else "mqar")
    except (ValueError, TypeError) as error:
        raise UsageError(f"TASK: {error}") from None
    config = parse(
        CompareConfig,
        rest,
        screen=SCREEN,
        default=CompareConfig(task=task),
    )
    try:
        return replace(
            config,
            also=(*names[1:], *config.also),
            layers=(*config.layers, *own),
        )
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None
