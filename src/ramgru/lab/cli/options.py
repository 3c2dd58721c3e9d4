"""The options of a dataclass as data: what help and shell completion are made of.

tyro parses a command line by the same dataclass. An option is named and described at its field.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import itertools
import re
import textwrap
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from ramgru.config import Head, heads_text

# An entry of a docstring that describes fields: `name, other: text`.
ENTRY = re.compile(r"^(\w+(?:, \w+)*):\s+(.*)$")

METAVARS: dict[Any, str] = {int: "N", float: "X", str: "TEXT", Path: "PATH"}


@dataclass(frozen=True)
class Option:
    """One option of a command line.

    group:   the dataclass that it is a field of: "", "task", "model" or "model.memory"
    kind:    the type of its value, bool for a flag
    default: its value where it is not given
    help:    the words at its field
    """

    name: str
    group: str
    kind: Any
    default: Any
    help: str

    @property
    def flags(self) -> list[str]:
        """`--name`, and `--no-name` of a flag."""
        dashed = self.name.replace("_", "-")
        if self.kind is not bool:
            return [f"--{dashed}"]
        group, dot, name = dashed.rpartition(".")
        return [f"--{dashed}", f"--{group}{dot}no-{name}"]

    @property
    def choices(self) -> tuple[str, ...]:
        """All values, where they are a fixed few."""
        return get_args(self.kind) if get_origin(self.kind) is Literal else ()

    @property
    def value(self) -> str:
        """The kind of value for people: `N`, `adam|adamw`, `X …`; nothing for a flag."""
        if self.kind is bool:
            return ""
        if self.choices:
            return "|".join(self.choices)
        inner = get_args(self.kind)
        if get_origin(self.kind) is not tuple:
            return METAVARS.get(self.kind, "VALUE")
        if inner[0] is Head:
            return "HEADS"
        word = METAVARS.get(inner[0], "VALUE")
        return f"{word} …" if inner[-1] is ... else " ".join(word for _ in inner)

    @property
    def shown_default(self) -> str:
        """The default for people; nothing where it is no value, or off."""
        value = self.default
        if value is None or value is False or value == ():
            return ""
        if value is True:
            return "on"
        if isinstance(value, tuple):
            return heads_text(value) if isinstance(value[0], Head) else " ".join(map(str, value))
        return str(value)


def options(kind: type[Any], default: Any = None) -> list[Option]:
    """Every option of a dataclass: its own fields first, then those of the dataclasses in it."""
    return list(_options(kind() if default is None else default, ""))


def _options(values: Any, group: str) -> Iterator[Option]:
    hints, lines = get_type_hints(type(values)), field_help(type(values))
    nested = []
    for field in dataclasses.fields(values):
        name = f"{group}.{field.name}" if group else field.name
        value = getattr(values, field.name)
        if dataclasses.is_dataclass(value):
            nested.append((value, name))
        elif field.init:
            kind = _without_none(hints[field.name])
            yield Option(name, group, kind, value, lines.get(field.name, ""))
    for value, name in nested:
        yield from _options(value, name)


def _without_none(kind: Any) -> Any:
    """X of `X | None`."""
    if get_origin(kind) not in (types.UnionType, typing.Union):
        return kind
    found = [one for one in get_args(kind) if one is not types.NoneType]
    return found[0] if len(found) == 1 else kind


def field_help(cls: type[Any]) -> dict[str, str]:
    """{field: help} of a dataclass and its bases: the string below a field, or the entry
    `name: text` of the docstring."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(_strings(base))
        names: list[str] = []
        for line in inspect.cleandoc(base.__doc__ or "").splitlines()[1:]:  # below the summary
            entry = ENTRY.match(line)
            if entry:
                names = entry[1].split(", ")
                found.update(dict.fromkeys(names, entry[2].strip()))
            elif names and line.startswith(" " * 4) and line.strip():
                found.update({name: f"{found[name]} {line.strip()}" for name in names})
            else:
                names = []
    return found


def _strings(cls: type[Any]) -> dict[str, str]:
    """{field: the string below it}, each as one line."""
    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError):  # a class without source, as in an interactive session
        return {}
    assert isinstance(node, ast.ClassDef)
    found = {}
    for field, below in itertools.pairwise(node.body):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = getattr(below, "value", None)
            if isinstance(text, ast.Constant) and isinstance(text.value, str):
                found[field.target.id] = " ".join(text.value.split())
    return found
