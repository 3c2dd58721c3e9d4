"""The names of the tasks; a task from its name and its options, as values or as text.

To add a task, decorate its class with `register` and import it in `__init__`.
"""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar, get_type_hints

from ramgru.lab.spec import nearest, parse, split
from ramgru.lab.tasks.base import Task

TASKS: dict[str, type[Task]] = {}  # tasks that are drawn from a seed alone
SOURCES: dict[str, type[Task]] = {}  # tasks that read a file: they need the option `path`

MOST = 2**24  # of a size in a file: a command line may ask for any, a file may not
FREE = ("seed", "vocabulary")  # options that are no sizes

AnyTask = TypeVar("AnyTask", bound=type[Task])


def register(cls: AnyTask) -> AnyTask:
    """Class decorator: adds a task under its `name`, to SOURCES if it has the option `path`."""
    (SOURCES if "path" in cls.__dataclass_fields__ else TASKS)[cls.name] = cls
    return cls


def get(name: str, **options: Any) -> Task:
    """The task of this name with these options; text is parsed as the option's type.

    Raises ValueError for an unknown name or a wrong value, TypeError for an unknown option.

    >>> get("mqar", pairs="16", length=128).pairs
    16
    """
    known = {**TASKS, **SOURCES}
    cls = known.get(name)
    if cls is None:
        raise ValueError(f"unknown task {name!r}{nearest(str(name), known)}")
    hints = get_type_hints(cls)
    kinds = {field.name: hints[field.name] for field in dataclasses.fields(cls) if field.init}
    for option in options:
        if option not in kinds:
            raise TypeError(f"task {name} has no option {option!r}{nearest(option, kinds)}")
    parsed = {
        option: parse(f"option {option} of task {name}", value, kinds[option])
        for option, value in options.items()
    }
    return cls(**parsed)


def from_text(text: str) -> Task:
    """The task of a specification. Raises ValueError or TypeError, as `get` does.

    >>> from_text("mqar,pairs=16").pairs
    16
    """
    name, options = split(text)
    return get(name, **options)


def to_config(task: Task) -> dict[str, Any]:
    """A task as plain JSON values: {"name": …, "options": {…}}."""
    return {"name": task.name, "options": task.options()}


def from_config(config: Any) -> Task:
    """The task of a config that `to_config` made."""
    if not isinstance(config, dict) or not isinstance(config.get("name"), str):
        raise ValueError(f"a task's config must hold its name and its options, got {config!r}")
    options = config.get("options", {})
    if not isinstance(options, dict):
        raise ValueError(f"the options of task {config['name']} must be a dict, got {options!r}")
    for option, value in options.items():
        if isinstance(value, int | float) and abs(value) > MOST and option not in FREE:
            raise ValueError(f"{option} of a task in a file must be at most {MOST:,}, got {value}")
    return get(config["name"], **options)
