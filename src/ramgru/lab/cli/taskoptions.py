"""The task of a command: its name is the first argument, its sizes are --task.* options.

The help of each size comes from the docstring of the task.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Annotated, Any, get_type_hints

import tyro

from ramgru.lab import tasks
from ramgru.lab.cli.parse import UsageError
from ramgru.lab.tasks import Task

ENTRY = re.compile(r"^    (\w+(?:, \w+)*):\s+(.*)$")


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
        flag = "--data" if name == "file" else "--text"
        raise UsageError(f"task {name} reads a file: expected {flag} FILE instead of {name!r}")
    try:
        return tasks.get(name, **options)
    except (ValueError, TypeError) as error:
        raise UsageError(f"TASK: {error}") from None


def with_help(task: Task) -> Task:
    """An equal task of a subclass whose fields have help texts for tyro."""
    cls = type(task)
    hints, lines = get_type_hints(cls), field_help(cls)
    namespace: dict[str, Any] = {"__module__": cls.__module__, "__doc__": cls.__doc__}
    annotations: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        text = lines.get(field.name, "")
        annotations[field.name] = Annotated[hints[field.name], tyro.conf.arg(help=text)]
        if field.default is not dataclasses.MISSING:
            namespace[field.name] = field.default
    namespace["__annotations__"] = annotations
    described: Any = dataclasses.dataclass(frozen=True)(type(cls.__name__, (cls,), namespace))
    return described(**task.options())


def without_help(task: Task) -> Task:
    """The task itself, of its registered class."""
    return tasks.get(task.name, **task.options())


def field_help(cls: type[Task]) -> dict[str, str]:
    """{field: help}, from the lines `name: text` in the docstrings of a task and its bases."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        names: list[str] = []
        for line in (base.__doc__ or "").splitlines():
            entry = ENTRY.match(line)
            if entry:
                names = entry[1].split(", ")
                found.update(dict.fromkeys(names, entry[2].strip()))
            elif names and line.startswith(" " * 8) and line.strip():
                found.update({name: f"{found[name]} {line.strip()}" for name in names})
            else:
                names = []
    return found


def listing() -> str:
    """The names of all tasks, as the end of a description."""
    return f"TASK is one of: {', '.join(sorted(tasks.TASKS))}."
