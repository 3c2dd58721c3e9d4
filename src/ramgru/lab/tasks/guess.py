"""What a memory reaches that has lost the places: it guesses one of the answers that it holds."""

from __future__ import annotations


def among_held(held: int, chance: float) -> float | None:
    """The share it gets right of `held` answers, drawn independently: the one it picks is the
    right one, or equals it with probability `chance`. None if it holds only one.

    >>> among_held(4, 0.25)
    0.4375
    """
    return 1 / held + (1 - 1 / held) * chance if held > 1 else None
