"""Checks of sizes and arguments; each error names the argument, the value and what was expected."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """`value` as an int within [low, high]; TypeError or ValueError otherwise."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        number = operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if number < low or (high is not None and number > high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise ValueError(f"{name} must be {allowed}, got {number}")
    return number


def draw_arguments(batch_size: Any, seed: Any, *, seed_bits: int | None = None) -> tuple[int, int]:
    """(batch_size, seed) as ints: at least one example, and a seed that is not negative."""
    high = None if seed_bits is None else 2**seed_bits - 1
    return integer("batch_size", batch_size, 1), integer("seed", seed, 0, high)


def one_of(name: str, value: Any, allowed: tuple[str, ...]) -> None:
    """ValueError unless `value` is one of `allowed`."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")


def share(name: str, value: Any, *, whole: bool = True) -> None:
    """ValueError unless `value` is a number from 0 to 1; with whole=False, below 1."""
    number = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not number or not 0 <= value <= 1 or (value == 1 and not whole):
        allowed = "[0, 1]" if whole else "[0, 1)"
        raise ValueError(f"{name} must be a share in {allowed}, got {value!r}")
