"""A command line as a dataclass, by tyro; an error is one sentence.

tyro draws errors as boxes. They are parsed from its standard error, since only its experimental
interface gives them as data.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import inspect
import io
import itertools
import re
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from ramgru.config import Head, heads_text

Parsed = TypeVar("Parsed")

# A row of the help that begins an option, with or without a frame: `--flag`, `--a, --no-a`.
OPTION = re.compile(r"^(?:│ |  )(--[a-z][\w.-]*)(?:, (--[a-z][\w.-]*))?")

# Messages of Python and tyro, and their replacements.
WORDS = (
    (r"^Error parsing (--?[^:]+): (?=expected|must)", r"\1: "),
    (r"^Error parsing [A-Z]\w+: ", ""),
    (r"^Error parsing ", ""),
    (r"invalid literal for int\(\) with base 10: ", "expected an integer, got "),
    (r"could not convert string to float: ", "expected a number, got "),
    (r"^invalid choice '(.*)' for argument '(.*)'. Expected (.*)$", r"\2: expected \3, got '\1'"),
    (r"^Missing value for argument '(.*)'. Expected 1 values$", r"\1: expected a value"),
    (r"^Missing value for argument '(.*)'. Expected (\d+) values$", r"\1: expected \2 values"),
)


class UsageError(Exception):
    """A command line cannot be parsed; the message is one sentence for the user."""


# An entry of a docstring that describes fields: `    name, other: text`.
ENTRY = re.compile(r"^    (\w+(?:, \w+)*):\s+(.*)$")

# A memory's heads are one word on the command line, in their text form.
REGISTRY = tyro.constructors.ConstructorRegistry()


@REGISTRY.primitive_rule
def _heads(info: Any) -> Any:
    if get_origin(info.type) is not tuple or get_args(info.type)[:1] != (Head,):
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="HEADS",
        instance_from_str=lambda words: words[0],  # `Memory` parses the text
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda heads: [heads_text(heads)],
    )


@REGISTRY.struct_rule
def _dataclass(info: Any) -> Any:
    """A dataclass whose fields have the help texts of `field_help`."""
    kind = info.type
    if not (isinstance(kind, type) and dataclasses.is_dataclass(kind)):
        return None
    hints, lines = get_type_hints(kind), field_help(kind)
    fields = [
        tyro.constructors.StructFieldSpec(
            field.name, hints[field.name], _default(field, info.default), lines.get(field.name)
        )
        for field in dataclasses.fields(kind)
    ]
    return tyro.constructors.StructConstructorSpec(kind, tuple(fields))


def _default(field: dataclasses.Field[Any], of: Any) -> Any:
    if hasattr(of, field.name):
        return getattr(of, field.name)
    if field.default is not dataclasses.MISSING:
        return field.default
    factory = field.default_factory
    return tyro.MISSING_NONPROP if factory is dataclasses.MISSING else factory()


def field_help(cls: type[Any]) -> dict[str, str]:
    """{field: help} of a dataclass and its bases: the string below a field, or the entry
    `name: text` of the docstring."""
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        found.update(_strings(base))
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


def parse(
    kind: type[Parsed],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
    default: Parsed | None = None,
) -> Parsed:
    """An instance of the dataclass `kind`; `--help` prints and exits.

    default: holds the values of options that are not given
    Raises UsageError if an option is unknown or its value does not fit.
    """
    given: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            value, unknown = tyro.cli(
                cast(Any, kind),
                prog=prog,
                description=description,
                args=list(args),
                registry=REGISTRY,
                return_unknown_args=True,
                **given,
            )
    except SystemExit as end:
        if end.code:
            raise UsageError(sentence(box.getvalue())) from None
        raise
    if unknown:
        raise UsageError(_unknown(unknown, options(kind, default)))
    return value


def options(kind: type[Any], default: Any = None) -> list[str]:
    """Every option of `parse` except --help, in the order of the help."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        tyro.cli(cast(Any, kind), args=["--help"], prog="ramgru", registry=REGISTRY, **given)
    found = [OPTION.match(line) for line in shown.getvalue().splitlines()]
    return [name for match in found if match for name in match.groups() if name]


def sentence(box: str) -> str:
    """The message in a box of tyro: the rows between its title and its first rule.

    Outside UTF-8, rules consist of dashes and there is no frame.
    """
    rows = [line.strip("│ ") for line in box.splitlines()][1:]
    rows = rows[1:] if rows and _rule(rows[0]) else rows
    text = " ".join(itertools.takewhile(lambda row: not _rule(row), rows)).strip().rstrip(".")
    for pattern, words in WORDS:
        text = re.sub(pattern, words, text)
    return text


def _rule(row: str) -> bool:
    return bool(row) and set(row) <= set("─-╰╯")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean a or b?`, or nothing if no known name is similar."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _unknown(tokens: Sequence[str], known: Sequence[str]) -> str:
    name = next((token for token in tokens if token.startswith("-")), None)
    if name is None:
        return f"unexpected argument {tokens[0]!r}: expected options, which begin with --"
    name = name.split("=")[0]
    # `--pears` resembles `--task.pairs`, whatever the group of the option.
    short = {option.split(".")[-1].lstrip("-"): option for option in reversed(known)}
    close = difflib.get_close_matches(name.split(".")[-1].lstrip("-"), list(short), 2, 0.65)
    guesses = [short[guess] for guess in close]
    hint = f"; did you mean {' or '.join(guesses)}?" if guesses else "; --help lists the options"
    return f"unknown option {name}{hint}"
