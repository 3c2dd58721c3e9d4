"""A command line as a dataclass, by tyro; an error is one sentence.

tyro draws errors as boxes. They are parsed from its standard error, since only its experimental
interface gives them as data.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

import tyro

from ramgru.config import Head, heads_text
from ramgru.lab.cli.options import field_help, options
from ramgru.lab.cli.screen import HELP, Screen

Parsed = TypeVar("Parsed")

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


def parse(
    kind: type[Parsed],
    args: Sequence[str],
    *,
    screen: Screen,
    default: Parsed | None = None,
) -> Parsed:
    """An instance of the dataclass `kind`; `--help` and `--help-all` print `screen` and exit.

    default: holds the values of options that are not given
    Raises UsageError if an option is unknown or its value does not fit.
    """
    if HELP & set(args):
        text = screen.full if "--help-all" in args else screen.short
        print(text(kind, default), end="")
        raise SystemExit(0)
    given: dict[str, Any] = {} if default is None else {"default": default}
    box = io.StringIO()
    try:
        with contextlib.redirect_stderr(box):
            value, unknown = tyro.cli(
                cast(Any, kind),
                prog=f"ramgru {screen.command}",
                args=list(args),
                registry=REGISTRY,
                return_unknown_args=True,
                **given,
            )
    except SystemExit:
        raise UsageError(sentence(box.getvalue())) from None
    if unknown:
        known = [flag for one in options(kind, default) for flag in one.flags]
        raise UsageError(_unknown(unknown, known))
    return value


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
    hint = (
        f"; did you mean {' or '.join(guesses)}?" if guesses else "; --help-all lists the options"
    )
    return f"unknown option {name}{hint}"
