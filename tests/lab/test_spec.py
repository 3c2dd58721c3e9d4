"""Specifications as text, and text as values of types."""

import doctest
from typing import Any, Literal

import numpy as np
import pytest

from ramgru import Key, Memory, Tape
from ramgru.lab import spec


def test_examples_in_docstrings_run() -> None:
    assert doctest.testmod(spec).failed == 0


def test_heads_of_a_memory_are_handed_over_as_text() -> None:
    text = "ramgru,heads=key key:2:skip=1 tape,cells=1024,learned_start=yes"
    name, options = spec.split(text)
    kinds: dict[str, Any] = {"heads": tuple[Key | Tape, ...], "cells": int, "learned_start": bool}
    parsed = {key: spec.parse(key, value, kinds[key]) for key, value in options.items()}
    memory = Memory(**parsed)
    assert memory == Memory(1024, (Key(), Key(2, skip=1), Tape()), learned_start=True)
    again = {"heads": memory.heads, "cells": memory.cells, "learned_start": memory.learned_start}
    assert spec.joined(name, again) == text.replace("yes", "true")
    assert spec.joined("x", {"heads": spec.parse("heads", "key:2", tuple[Key, ...] | int)}) == (
        "x,heads=key:2"
    )


@pytest.mark.parametrize("text", ["mqar,pairs", "mqar,=3", ",pairs=3", "mqar,,pairs=3"])
def test_malformed_text(text: str) -> None:
    with pytest.raises(ValueError, match=rf"expected NAME\[,OPTION=VALUE…\], got '{text}'"):
        spec.split(text)


def test_an_option_is_given_once() -> None:
    with pytest.raises(ValueError, match="option 'pairs' must be given once, got 'mqar,pairs=1,"):
        spec.split("mqar,pairs=1,pairs=2")
    assert spec.split("mqar, pairs = 1") == ("mqar", {"pairs": "1"})
    with pytest.raises(ValueError, match=r"^option 'a\\nb' must be given once, .*$"):
        spec.split("mqar,a\nb=1,a\nb=2")


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("16", int, 16),
        (16.0, int, 16),
        (np.int64(16), int, 16),
        ("1e-3", float, 1e-3),
        (1, float, 1.0),
        ("Yes", bool, True),
        ("0", bool, False),
        ("none", int | None, None),
        ("3", int | None, 3),
        ("1:2", tuple[int, ...], (1, 2)),
        ([1, "2"], tuple[int, ...], (1, 2)),
        ("a:b", tuple[Literal["a", "b"], ...], ("a", "b")),
        ("key key:2", str, "key key:2"),
    ],
)
def test_values(value: object, kind: object, expected: object) -> None:
    found = spec.parse("size", value, kind)
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("1.5", int, "of type int, got '1.5'"),
        (1.5, int, "of type int, got 1.5"),
        (True, int, "of type int, got True"),
        (True, float, "of type float, got True"),
        ("x", float, "of type float, got 'x'"),
        ("maybe", bool, "of type bool, got 'maybe'"),
        (3, str, "of type str, got 3"),
        ("1:x", tuple[int, ...], "of type int, got 'x'"),
        ("c", Literal["a", "b"], "one of a, b, got 'c'"),
    ],
)
def test_wrong_values(value: object, kind: object, expected: str) -> None:
    with pytest.raises(ValueError, match=f"size must be {expected}"):
        spec.parse("size", value, kind)
