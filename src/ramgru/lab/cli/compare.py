"""`ramgru compare`: train several layers with the same budget and report their scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ramgru.lab.cli.arguments import listing, split_tasks, take
from ramgru.lab.cli.parse import UsageError, parse
from ramgru.lab.compare.compare import compare
from ramgru.lab.compare.config import CompareConfig, sized
from ramgru.lab.compare.runs import Interrupted
from ramgru.lab.train.layers import LAYERS

DESCRIPTION = """Train layers with the same budget: `ramgru compare [TASK …] [OPTIONS]`.

RAM-GRU, nn.GRU, minGRU, other peers and layers of your own train on the same tasks and are then
evaluated at sizes far beyond training. The result is a table for each task, a leaderboard of
several tasks, one self-contained HTML report, and all numbers as CSV and JSON (and Parquet, with
pyarrow). Killed at any moment, the same command resumes. The write cost, an auxiliary loss on open
update gates, is charged to ramgru layers only. A TASK may have its sizes after commas, and a layer
its options; --task.* are the sizes of the first task.

    ramgru compare
    ramgru compare parity --steps 500 --layers ramgru gru lstm
    ramgru compare mqar parity copy,length=10 --layers ramgru attention,positions=rope --jobs 2
    ramgru compare mqar --layer my_module:MyLayer
    ramgru compare mqar --equal state --state-bytes 65536 --lr 1e-3 3e-3 1e-2 --seeds 0 1 2
    ramgru compare mqar --levers --jobs 2

Layers: {layers}; --layer module:Class adds one of your own.
"""


def run(args: Sequence[str]) -> int:
    """The exit code: 0, or 128 + the signal's number if training was interrupted."""
    try:
        compare(configure(args))
    except Interrupted as error:
        print(error)
        return 128 + (error.signal or 2)
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
        prog="ramgru compare",
        description=DESCRIPTION.format(layers=", ".join(LAYERS)) + "\n" + listing(),
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
