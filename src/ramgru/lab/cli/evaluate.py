"""`ramgru evaluate`: measure a trained model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ramgru.lab.cli.arguments import OWN_LAYER, imported, split_task
from ramgru.lab.cli.following import look_inside
from ramgru.lab.cli.parse import parse
from ramgru.lab.cli.screen import Screen, suggest
from ramgru.lab.evaluate import EvaluateConfig, evaluate
from ramgru.lab.train import newest_run

SCREEN = Screen(
    command="evaluate",
    call="[RUN] [OPTIONS]",
    about="Measure a trained model at its training sizes and far beyond. RUN is the directory of a "
    "run; without it, the newest one below runs/.",
    examples=(
        "ramgru evaluate",
        "ramgru evaluate runs/mqar-gru --effort.max-length 1024",
    ),
    shown={
        "run": ("run", OWN_LAYER),
        "effort": ("effort.questions", "effort.examples", "effort.max_length"),
        "machine": ("threads", "device"),
    },
    details="""Each score comes with its 95 % confidence interval, the chance of a guess and, if
    known, the plateau: the score of a memory that knows which values it saw but not where.
    Tasks with key-value pairs also show the bits of information held, in total and a byte of
    state. Memory capacity is the number of past inputs that a linear readout finds in the
    hidden units (Jaeger, 2001). Writes evaluation.json into the run.""",
)


def run(args: Sequence[str]) -> int:
    config = configure(args)
    run = config.run or newest_run()
    evaluate(replace(config, run=run))
    suggest(*look_inside(run), ["ramgru", "runs", str(run)])
    return 0


def configure(args: Sequence[str]) -> EvaluateConfig:
    """The configuration of a command line. Raises UsageError."""
    name, rest = split_task(imported(args))
    config = parse(EvaluateConfig, rest, screen=SCREEN)
    return config if name is None else replace(config, run=Path(name))
