"""Things named on a command line with their options behind commas: mqar,pairs=16 or
attention,positions=rope. And text as values of the types that options have."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")
INSIDE = ":"  # between the entries of one value


def split(text: str) -> tuple[str, dict[str, str]]:
    """The name and the options of a specification. Raises ValueError where it is none.

    >>> split("attention,positions=rope,heads=2")
    ('attention', {'positions': 'rope', 'heads': '2'})
    """
    name, *rest = (part.strip() for part in text.split(","))
    options: dict[str, str] = {}
    for part in rest:
        option, equals, value = part.partition("=")
        if not name or not option or not equals:
            raise ValueError(f"expected NAME[,OPTION=VALUE…], got {text!r}")
        if option in options:
            raise ValueError(f"option {option} must be given once, got {text!r}")
        options[option] = value
    return name, options


def joined(name: str, options: Mapping[str, Any]) -> str:
    """What `split` takes apart.

    >>> joined("ramgru", {"spans": (1, 2), "learn_address": True})
    'ramgru,spans=1:2,learn_address=true'
    """
    return ",".join([name, *(f"{option}={_text(value)}" for option, value in options.items())])


def slug(text: str) -> str:
    """A specification as a part of a file's name.

    >>> slug("my.layers:Mine,spans=1:2")
    'my.layers-Mine-spans=1-2'
    """
    return re.sub(r"[^\w.=-]+", "-", text)


def _text(value: Any) -> str:
    if isinstance(value, tuple | list):
        return INSIDE.join(_text(entry) for entry in value)
    return str(value).lower() if value is None or isinstance(value, bool) else str(value)


def nearest(name: str, known: Iterable[str]) -> str:
    """'; did you mean a or b? Known: …' for an error message."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=2, cutoff=0.5)
    guess = f"; did you mean {' or '.join(close)}?" if close else ";"
    return f"{guess} Known: {', '.join(names)}" if names else ""


def parse(what: str, value: Any, kind: Any) -> Any:
    """`value` as an int, float, bool, str, one of a Literal, a tuple of them (in text behind
    colons), or None where `kind` allows it: text is read, a number is never cut short.

    Raises ValueError that names `what`.
    """
    if get_origin(kind) in (Union, UnionType):
        kinds = get_args(kind)
        if NoneType in kinds and (value is None or value == "none"):
            return None
        (kind,) = (one for one in kinds if one is not NoneType)
    if get_origin(kind) is Literal:
        if value in get_args(kind):
            return value
        raise ValueError(f"{what} must be one of {', '.join(get_args(kind))}, got {value!r}")
    if get_origin(kind) is tuple:
        entry = get_args(kind)[0]
        parts = value.split(INSIDE) if isinstance(value, str) else value
        return tuple(parse(what, part, entry) for part in parts)
    return _plain(what, value, kind)


def _plain(what: str, value: Any, kind: Any) -> Any:
    if kind is bool:
        if isinstance(value, bool):
            return value
        text = str(value).strip().lower()
        if text in _TRUE or text in _FALSE:
            return text in _TRUE
    elif kind is int:
        if isinstance(value, str):
            try:
                return int(value)
            except ValueError:
                pass
        elif not isinstance(value, bool) and (
            hasattr(value, "__index__") or (isinstance(value, float) and value.is_integer())
        ):
            return int(value)
    elif kind is float:
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            try:
                return float(value)
            except ValueError:
                pass
    elif kind is str:
        if isinstance(value, str):
            return value
        if hasattr(value, "__fspath__"):
            return str(value)
    else:
        return value
    raise ValueError(f"{what} must be of type {kind.__name__}, got {value!r}")
