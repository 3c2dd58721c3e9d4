"""`ramgru study`: pull the levers of memory efficiency one by one, and report what each gives."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.cli.sized import configured
from ramgru.lab.cli.taskoptions import split_task
from ramgru.lab.compare.levers.config import StudyConfig
from ramgru.lab.compare.levers.study import study

DESCRIPTION = """Study the levers of memory efficiency: `ramgru study [TASK] [OPTIONS]`.

What makes the memory of a RAM-GRU hold more for its bits, parameters and time: the gates of a
cell, the number of cells, or the structure of the unit? Each point of a lever is trained and
evaluated with several seeds; all else is as in the default. Ends in a table and one self-contained
HTML report: recall at every size, how many pairs are held, bits recalled a bit of state and a
parameter, time and memory a step.

Runs go side by side (--jobs), and on several machines where they share a --storage. Killed at any
moment, the same command goes on where it was; runs that are finished are never made again.

    ramgru study                               all levers
    ramgru study --levers cells --seeds 0      one of them, once
    ramgru study --full --storage postgresql://user@host/db

"""


def run(args: Sequence[str]) -> int:
    study(configure(args))
    return 0


def configure(args: Sequence[str]) -> StudyConfig:
    """The configuration that a command line means. Raises UsageError."""
    name, rest = split_task(args)
    return configured(StudyConfig, name, rest, "study", DESCRIPTION)
