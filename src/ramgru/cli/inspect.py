"""`ramgru inspect`: draw what a trained model does with one input."""

from __future__ import annotations

from collections.abc import Sequence

from ramgru.cli.parse import parse
from ramgru.inspect import InspectConfig, inspect


def run(args: Sequence[str]) -> int:
    inspect(configure(args))
    return 0


def configure(args: Sequence[str]) -> InspectConfig:
    """The configuration that a command line means. Raises UsageError."""
    return parse(
        InspectConfig, args, prog="ramgru inspect", description=InspectConfig.__doc__ or ""
    )
