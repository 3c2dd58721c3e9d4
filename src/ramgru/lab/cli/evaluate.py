"""`ramgru evaluate`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab.cli.ownlayer import imported
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.taskoptions import split_task
from ramgru.lab.evaluate import EvaluateConfig, evaluate

DESCRIPTION = """Measure a trained model: `ramgru evaluate [RUN] [OPTIONS]`.

RUN is the directory of a run (default: the newest below runs/). The model is asked at the sizes it
was trained on and far beyond; every score stands beside its 95 % interval, the chance of a guess,
and, where that is known, the plateau of a memory that knows which answers it saw but not where.
Writes evaluation.json into the run.

    ramgru evaluate
    ramgru evaluate runs/mqar-gru --effort.max-length 1024
    ramgru evaluate --layer my_module:MyLayer     a run of a layer of your own, which is imported
"""


def run(args: Sequence[str]) -> int:
    evaluate(configure(args))
    return 0


def configure(args: Sequence[str]) -> EvaluateConfig:
    """The configuration that a command line means. Raises UsageError."""
    name, rest = split_task(imported(args))
    config = parse(EvaluateConfig, rest, prog="ramgru evaluate", description=DESCRIPTION)
    return config if name is None else replace(config, run=Path(name))
