"""The command line of what trains many runs: `COMMAND [TASK …] [OPTIONS]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ramgru.lab.cli.parse import UsageError, parse
from ramgru.lab.cli.taskoptions import listing, with_help, without_help
from ramgru.lab.compare.config import CompareConfig, sized
from ramgru.lab.compare.levers.config import StudyConfig

Config = TypeVar("Config", CompareConfig, StudyConfig)


def configured(
    kind: type[Config], name: str | None, args: Sequence[str], command: str, description: str
) -> Config:
    """The configuration of this kind that a command line means, on the task of this specification.

    Raises UsageError.
    """
    try:
        task = sized(name or "mqar")
    except (ValueError, TypeError) as error:
        raise UsageError(f"TASK: {error}") from None
    config = parse(
        kind,
        args,
        prog=f"ramgru {command}",
        description=description + listing(),
        default=kind(task=with_help(task)),
    )
    return replace(config, task=without_help(config.task))
