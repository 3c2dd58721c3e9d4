"""Printable ASCII as tokens: ' ' is 0, '~' is 94; then a mark between parts, and padding."""

from __future__ import annotations

import numpy as np

FIRST = ord(" ")
MARK, PAD = 95, 96
VOCABULARY = 97


def encode(text: str) -> np.ndarray:
    """(n,) int64 tokens of a text; UnicodeEncodeError outside of ASCII.

    >>> encode("a ~")
    array([65,  0, 94])
    """
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - FIRST


def decode(tokens: np.ndarray) -> str:
    """(T,) tokens as text; '¶' is the mark, '·' padding.

    >>> decode(np.array([65, 0, 94, 95, 96]))
    'a ~¶·'
    """
    return "".join({MARK: "¶", PAD: "·"}.get(t, chr(FIRST + t)) for t in tokens.tolist())
