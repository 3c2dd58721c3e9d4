"""Arguments that are read before the options are parsed: tasks, and layers of the user's own.

The command line may import the module of --layer module:Class; a file may not.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ramgru.lab import tasks
from ramgru.lab.cli.parse import UsageError
from ramgru.lab.tasks import Task
from ramgru.lab.train import layers

# Options that are read before the others: (name, help).
OWN_LAYER = ("--layer MODULE:CLASS", "A layer of your own")
SIZES = ("--task.SIZE", "Sizes, listed by ramgru train TASK --help-all")


def split_task(args: Sequence[str]) -> tuple[str | None, list[str]]:
    """The first argument, unless it is an option, and the other arguments."""
    if args and not args[0].startswith("-"):
        return args[0], list(args[1:])
    return None, list(args)


def split_tasks(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The arguments before the first option, and the others."""
    first = next((i for i, arg in enumerate(args) if arg.startswith("-")), len(args))
    return list(args[:first]), list(args[first:])


def named(name: str, **options: Any) -> Task:
    """The task of this name. Raises UsageError with similar names if there is none."""
    if name in tasks.SOURCES and not options:
        flag = "--data" if name in ("file", "table") else "--text"
        raise UsageError(f"task {name} reads a file: expected {flag} FILE instead of {name!r}")
    try:
        return tasks.get(name, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"TASK: {error}") from None


def listing() -> str:
    """The names of all tasks, as the end of a description."""
    return f"TASK is one of: {', '.join(sorted(tasks.TASKS))}."


def take(args: Sequence[str]) -> tuple[list[str], list[str]]:
    """The values of --layer, and the other arguments. Raises UsageError."""
    found: list[str] = []
    rest: list[str] = []
    given = iter(args)
    for arg in given:
        flag, equals, value = arg.partition("=")
        if flag != "--layer":
            rest.append(arg)
            continue
        layer = value if equals else next(given, "")
        if not layer:
            raise UsageError("--layer: expected a layer's name or module:Class")
        try:
            layers.check(layer)
        except ValueError as error:
            raise UsageError(f"--layer: {error}") from None
        found.append(layer)
    return found, rest


def as_model(args: Sequence[str]) -> list[str]:
    """The arguments with --layer replaced by --model.layer; its module is imported."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
        rest += ["--model.layer", layer]
    return rest


def imported(args: Sequence[str]) -> list[str]:
    """The arguments without --layer, whose module is imported so that its runs may be read."""
    found, rest = take(args)
    for layer in found:
        layers.import_own(layer)
    return rest
