"""The help of a command: `--help` is one screen of what is used most, `--help-all` is everything.

Lines are as wide as the terminal. A command line that does not fit is broken as a shell breaks it.
"""

from __future__ import annotations

import re
import shlex
import shutil
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ramgru.lab.cli.options import Option, options

WIDEST = 100  # columns
STACKED = 60  # columns below which a help text stands under its option
COLUMN = 24  # columns of an option and the kind of its value; a longer one has its own line
HELP = {"-h", "--help", "--help-all"}


@dataclass(frozen=True)
class Screen:
    """The words of a command's help; options are described at their fields.

    call:     what follows the command's name
    about:    one or two sentences
    examples: command lines
    shown:    {title: the options of the first screen, by name}; a pair is an option of the command
              line alone, and its help
    details:  paragraphs that `--help-all` adds
    """

    command: str
    call: str
    about: str
    examples: Sequence[str] = ()
    shown: Mapping[str, Sequence[str | tuple[str, str]]] = field(default_factory=dict)
    details: str = ""

    def short(self, kind: type[Any] | None = None, default: Any = None) -> str:
        """The text of `--help`. kind: the dataclass of the options"""
        known = {} if kind is None else {one.name: one for one in options(kind, default)}
        rows = [
            (title if n == 0 else "", *(name if isinstance(name, tuple) else _row(known[name])))
            for title, names in self.shown.items()
            for n, name in enumerate(names)
        ]
        text = [*self._head(), *table(rows, width(), COLUMN)]
        if known:
            text += ["", *wrapped(f"All {len(known)} options: ramgru {self.command} --help-all")]
        return "\n".join(text).rstrip("\n") + "\n"

    def full(self, kind: type[Any], default: Any = None) -> str:
        """The text of `--help-all`."""
        text = self._head()
        for paragraph in self.details.split("\n\n") if self.details else ():
            text += [*wrapped(" ".join(paragraph.split())), ""]
        for title, names in self.shown.items():
            rows = [("", *name) for name in names if isinstance(name, tuple)]
            text += [title, *table(rows, width()), ""] if rows else []
        every = options(kind, default)
        for group in dict.fromkeys(one.group for one in every):
            rows = [("", *_row(one, whole=True)) for one in every if one.group == group]
            text += [f"{group} options".strip(), *table(rows, width()), ""]
        return "\n".join(text).rstrip("\n") + "\n"

    def _head(self) -> list[str]:
        text = [*wrapped(f"usage: ramgru {self.command} {self.call}"), ""]
        text += [*wrapped(self.about), ""]
        for line in self.examples:
            text += command_lines(line)
        return [*text, ""] if self.examples else text


def width() -> int:
    """Columns of the terminal, at most `WIDEST`."""
    return max(10, min(WIDEST, shutil.get_terminal_size().columns))


def wrapped(text: str, indent: str = "", columns: int | None = None) -> list[str]:
    """A paragraph in lines; no word is broken."""
    return textwrap.wrap(
        text,
        columns or width(),
        initial_indent=indent,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def command_lines(text: str, indent: str = "  ") -> list[str]:
    """A command line of a shell, on several lines where it is too wide."""
    if len(indent + text) <= width():
        return [indent + text]
    pieces: list[str] = []
    for word in re.findall(r"\"[^\"]*\"|'[^']*'|\S+", text):
        if pieces and len(indent + pieces[-1] + word) + 3 <= width():
            pieces[-1] += f" {word}"
        else:
            pieces.append(word)
    return [f"{indent}{piece} \\" for piece in pieces[:-1]] + [indent + pieces[-1]]


def suggest(*commands: str | Iterable[str]) -> None:
    """Print what may come next, ready to be pasted; a command may be given as its words."""
    if commands:
        print("\nnext:")
    for command in commands:
        text = command if isinstance(command, str) else shlex.join(command)
        print("\n".join(command_lines(text)))


def _row(option: Option, *, whole: bool = False) -> tuple[str, str]:
    """The option with the kind of its value, and its help: the whole, or what fits into a line."""
    default = option.shown_default
    if whole:
        text = option.help + (f" (default: {default})" if default else "")
        return f"{', '.join(option.flags)} {option.value}".strip(), text.strip()
    name = f"{option.flags[0]} {option.value}".strip()
    text = re.split(r"[.:;](?:\s|$)", option.help)[0]
    if meaning := re.search(rf"[.;] {re.escape(default)}: ([^,.;]+)", option.help):
        default = meaning[1]
    text += f" ({default})" if default and len(default) < COLUMN and default not in text else ""
    return name if len(name) <= COLUMN or not option.choices else option.flags[0], text


def table(rows: Sequence[tuple[str, str, str]], columns: int, widest: int = WIDEST) -> list[str]:
    """Lines of title, option and help; below each other where there is little room, or an option is
    wider than `widest`."""
    if not rows:
        return []
    first = max(len(title) for title, *_ in rows) + 2
    lines: list[str] = []
    if columns < STACKED:
        for title, name, text in rows:
            lines += [f"{title}:"] if title else []
            lines += [*wrapped(name, "", columns), *wrapped(text, "  ", columns)]
        return lines
    most = min(widest, columns // 2 - first)
    second = max((len(name) for _, name, _ in rows if len(name) <= most), default=most) + 2
    for title, name, text in rows:
        shown = wrapped(text, "", columns - first - second) or [""]
        if len(name) > second - 2:
            lines.append(f"{title:<{first}}{name}")
        else:
            lines.append(f"{title:<{first}}{name:<{second}}{shown.pop(0)}".rstrip())
        lines += [" " * (first + second) + line for line in shown]
    return lines
