"""`ramgru compare`: train several layers with one budget, and lay them side by side."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ramgru.lab.cli.ownlayer import take
from ramgru.lab.cli.parse import UsageError
from ramgru.lab.cli.sized import configured
from ramgru.lab.cli.taskoptions import split_tasks
from ramgru.lab.compare.compare import compare
from ramgru.lab.compare.config import CompareConfig
from ramgru.lab.train.layers import LAYERS

DESCRIPTION = """Train layers beside each other: `ramgru compare [TASK …] [OPTIONS]`.

RAM-GRU, nn.GRU, minGRU, any other peer and layers of your own learn the same tasks with the same
budget, and are then asked at sizes far beyond it. Ends in a table a task, a leaderboard of several,
one self-contained HTML report, and all numbers as CSV and JSON (and Parquet, with pyarrow). Killed
at any moment, the same command goes on where it was. A TASK may have its sizes behind commas, a
layer its options; --task.* are the sizes of the first task.

    ramgru compare
    ramgru compare parity --steps 500 --layers ramgru gru lstm
    ramgru compare mqar parity copy,length=10 --layers ramgru attention,positions=rope --jobs 2
    ramgru compare mqar --layer my_module:MyLayer
    ramgru compare mqar --equal state --state-bytes 65536 --lr 1e-3 3e-3 1e-2 --seeds 0 1 2

Layers: {layers}; --layer module:Class adds one of your own.
"""


def run(args: Sequence[str]) -> int:
    compare(configure(args))
    return 0


def configure(args: Sequence[str]) -> CompareConfig:
    """The configuration that a command line means. Raises UsageError."""
    own, rest = take(args)
    description = DESCRIPTION.format(layers=", ".join(LAYERS)) + "\n"
    names, rest = split_tasks(rest)
    first = names[0] if names else None
    config = configured(CompareConfig, first, rest, "compare", description)
    try:
        return replace(config, also=(*names[1:], *config.also), layers=(*config.layers, *own))
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from None
