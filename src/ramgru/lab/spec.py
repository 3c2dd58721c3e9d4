"""Specifications as text: a name and options, `mqar,pairs=16`; text as values of options' types.

mqar,pairs=16
attention,positions=rope
ramgru,heads=key key:2 tape,cells=4096
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
_PLAIN = (bool, int, float, str)
INSIDE = ":"  # between the entries of a tuple of plain values


def split(text: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a specification. Raises ValueError if it is malformed.

    >>> split("ramgru,heads=key key:skip=2 tape,cells=4096")
    ('ramgru', {'heads': 'key key:skip=2 tape', 'cells': '4096'})
    """
    name, *rest = (part.strip() for part in text.split(","))
    options: dict[str, str] = {}
    for part in rest:
        option, equals, value = (piece.strip() for piece in part.partition("="))
        if not name or not option or not equals:
            raise ValueError(f"expected NAME[,OPTION=VALUE…], got {text!r}")
        if option in options:
            raise ValueError(f"option {option!r} must be given once, got {text!r}")
        options[option] = value
    return name, options


def joined(name: str, options: Mapping[str, Any]) -> str:
    """The specification of a name and options, the inverse of `split`.

    >>> joined("ramgru", {"cells": 4096, "steps": (1, 2), "learned_start": True})
    'ramgru,cells=4096,steps=1:2,learned_start=true'
    """
    return ",".join([name, *(f"{option}={_text(value)}" for option, value in options.items())])


def slug(text: str) -> str:
    """A specification as a part of a file's name.

    >>> slug("my.layers:Mine,heads=key key:2")
    'my.layers-Mine-heads=key-key-2'
    """
    return re.sub(r"[^\w.=-]+", "-", text)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):  # values of other types, such as heads, are words
        between = INSIDE if all(isinstance(entry, _PLAIN) for entry in value) else " "
        return between.join(map(_text, value))
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean a or b? Known: …' for an error message."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    guess = f"; did you mean {' or '.join(close)}?" if close else ";"
    return f"{guess} Known: {listed(names)}" if names else ""


def listed(names: Sequence[str], most: int = 50) -> str:
    """'a, b, c' for a message; of many names, the first ones and how many there are."""
    more = f", … ({len(names):,} in all)" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def parse(name: str, value: Any, kind: Any) -> Any:
    """`value` as a bool, int, float, str, one of a Literal, a tuple of these (text with colons in
    between), or None if `kind` allows it. A value of another kind, such as the heads of a memory,
    stays as it is: its class parses it. A number is never rounded.

    Raises ValueError that begins with `name`.
    """
    if get_origin(kind) in (Union, UnionType):
        kinds = [one for one in get_args(kind) if one is not NoneType]
        if len(kinds) < len(get_args(kind)) and (value is None or value == "none"):
            return None
        if len(kinds) > 1:
            return value
        (kind,) = kinds
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"{name} must be one of {', '.join(get_args(kind))}, got {value!r}")
    if get_origin(kind) is tuple:
        entry = get_args(kind)[0]
        if entry not in _PLAIN and get_origin(entry) is not Literal:
            return value
        entries = value.split(INSIDE) if isinstance(value, str) else value
        return tuple(parse(name, part, entry) for part in entries)
    parsed = _plain(value, kind) if kind in _PLAIN else value
    if parsed is None:
        raise ValueError(f"{name} must be of type {kind.__name__}, got {value!r}")
    return parsed


def _plain(value: Any, kind: Any) -> Any:
    """`value` as a bool, int, float or str; None if it is none."""
    if kind is str:
        return str(value) if isinstance(value, str) or hasattr(value, "__fspath__") else None
    if kind is bool:
        known = {word: word in _TRUE for word in (*_TRUE, *_FALSE)}
        return value if isinstance(value, bool) else known.get(str(value).strip().lower())
    whole = hasattr(value, "__index__") or (isinstance(value, float) and value.is_integer())
    number = isinstance(value, int | float) if kind is float else whole
    if isinstance(value, bool) or not (number or isinstance(value, str)):
        return None
    try:
        return kind(value)
    except ValueError:
        return None
