"""The command line of what trains several runs of one task: `COMMAND [TASK] [OPTIONS]`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from ramgru.cli.parse import UsageError, parse
from ramgru.cli.taskoptions import listing, split_task, with_help, without_help
from ramgru.study.config import CompareConfig, sized
from ramgru.study.levers.config import StudyConfig

Config = TypeVar("Config", CompareConfig, StudyConfig)


def configured(kind: type[Config], args: Sequence[str], command: str, description: str) -> Config:
    """The configuration of this kind that a command line means. Raises UsageError."""
    name, rest = split_task(args)
    try:
        task = sized(name or "mqar")
    except (ValueError, TypeError) as error:
        raise UsageError(f"TASK: {error}") from None
    config = parse(
        kind,
        rest,
        prog=f"ramgru {command}",
        description=description + listing(),
        default=kind(task=with_help(task)),
    )
    return replace(config, task=without_help(config.task))
