"""`ramgru evaluate`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab.cli.arguments import imported, split_task
from ramgru.lab.cli.parse import parse
from ramgru.lab.evaluate import EvaluateConfig, evaluate

DESCRIPTION = """Measure a trained model: `ramgru evaluate [RUN] [OPTIONS]`.

RUN is the directory of a run (default: the newest below runs/). The model answers held-out
questions at its training sizes and far beyond. Each score comes with its 95 % confidence interval,
the chance of a guess and, if known, the plateau: the score of a memory that knows which values it
saw but not where. Tasks with key-value pairs also show the bits of information held, in total and a
byte of state. Memory capacity is the number of past inputs that a linear readout finds in the
hidden units (Jaeger, 2001). Writes evaluation.json into the run.

    ramgru evaluate
    ramgru evaluate runs/mqar-gru --effort.max-length 1024
    ramgru evaluate --layer my_module:MyLayer     the run's layer is your own class
"""


def run(args: Sequence[str]) -> int:
    evaluate(configure(args))
    return 0


def configure(args: Sequence[str]) -> EvaluateConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(imported(args))
    config = parse(EvaluateConfig, rest, prog="ramgru evaluate", description=DESCRIPTION)
    return config if name is None else replace(config, run=Path(name))
