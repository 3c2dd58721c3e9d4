"""From a command line to a dataclass, by tyro; what does not fit ends in one sentence.

tyro draws its errors as boxes. They are read back from its standard error, since only its
experimental interface gives them as data.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import itertools
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import tyro

Parsed = TypeVar("Parsed")

# A row of the help that begins an option, in a frame or without one: `--flag`, `--a, --no-a`.
OPTION = re.compile(r"^(?:│ |  )(--[a-z][\w.-]*)(?:, (--[a-z][\w.-]*))?")

# Python's own words for a number that is none, and ours.
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
    """A command line that cannot be understood; its message is one sentence for the user."""


def parse(
    kind: type[Parsed],
    args: Sequence[str],
    *,
    prog: str,
    description: str,
    default: Parsed | None = None,
) -> Parsed:
    """An instance of the dataclass `kind`; `--help` prints and exits.

    default: where the options that are not given come from
    Raises UsageError where an option is unknown or its value does not fit.
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
    """Every option that `parse` takes but --help, in the order of the help."""
    given: dict[str, Any] = {} if default is None else {"default": default}
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        tyro.cli(cast(Any, kind), args=["--help"], prog="ramgru", **given)
    found = [OPTION.match(line) for line in shown.getvalue().splitlines()]
    return [name for match in found if match for name in match.groups() if name]


def sentence(box: str) -> str:
    """The message in one of tyro's boxes: the rows between its title and its first rule.

    Where the terminal is not in UTF-8, rules are of dashes and there is no frame.
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
    """`; did you mean a or b?`, or nothing where no known name is near."""
    close = difflib.get_close_matches(name, list(known), n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


def _unknown(tokens: Sequence[str], known: Sequence[str]) -> str:
    name = next((token for token in tokens if token.startswith("-")), None)
    if name is None:
        return f"unexpected argument {tokens[0]!r}: expected options, which begin with --"
    name = name.split("=")[0]
    # `--pears` is near `--task.pairs`, whatever group that option is in.
    short = {option.split(".")[-1].lstrip("-"): option for option in reversed(known)}
    close = difflib.get_close_matches(name.split(".")[-1].lstrip("-"), list(short), 2, 0.65)
    guesses = [short[guess] for guess in close]
    hint = f"; did you mean {' or '.join(guesses)}?" if guesses else "; --help lists the options"
    return f"unknown option {name}{hint}"
