"""`ramgru meter`: how much a memory holds, in numbers that compare across layers."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.lab.cli.ownlayer import as_model, imported
from ramgru.lab.cli.parse import UsageError, nearest, parse
from ramgru.lab.cli.taskoptions import split_task
from ramgru.lab.evaluate.meters.config import (
    CapacityConfig,
    MeterConfig,
    ParametersConfig,
    StateConfig,
)
from ramgru.lab.evaluate.meters.meter import meter

DESCRIPTION = """Measure how much a memory holds: `ramgru meter [KIND] [OPTIONS]`.

KIND is one of

  capacity    past inputs in the units (the default, seconds): white noise goes in, linear readouts
              look for what came k steps before; the sum of their r² is the short-term memory
              capacity of Jaeger (2001), at most the number of units
  parameters  bits in the weights (about a minute): random labels of random inputs are learnt by
              heart; common recurrent networks hold about 5 bits a parameter (arXiv 1611.09913),
              with far longer training than this
  state       bits in the state, of the newest run of a task with pairs, such as mqar: the
              information that its answers carry, beside the bits of the state it answers from

capacity and parameters measure a fresh model as --model.* say, or that of a run (--run); the
weights of `parameters` are always trained afresh. Prints a table and writes meter-KIND.json.

    ramgru meter
    ramgru meter capacity --layer gru --model.num-layers 1
    ramgru meter capacity --layer my_module:MyLayer
    ramgru meter parameters --items 512 1024 2048 --effort.steps 5000
    ramgru meter state --run runs/mqar-ramgru

"""

KINDS: dict[str, type[MeterConfig]] = {
    "capacity": CapacityConfig,
    "parameters": ParametersConfig,
    "state": StateConfig,
}


def run(args: Sequence[str]) -> int:
    meter(configure(args))
    return 0


def configure(args: Sequence[str]) -> MeterConfig:
    """The configuration that a command line means. Raises UsageError."""
    kind, rest = split_task(args)
    rest = imported(rest) if kind == "state" else as_model(rest)
    kind = kind or "capacity"
    if kind not in KINDS:
        expected = f"expected one of {', '.join(KINDS)}"
        raise UsageError(f"KIND: unknown meter {kind!r}{nearest(kind, KINDS)}; {expected}")
    return parse(
        KINDS[kind],
        rest,
        prog=f"ramgru meter {kind}",
        description=f"{DESCRIPTION}The options of {kind}:",
    )
