"""Strings of letters as tokens, and rows of the form prompt, answer, '.'.

The tokens of Jelassi et al., "Repeat after me" (arXiv 2402.01032): the letters a to z are 0 to 25,
then '$' begins, '|' separates, '.' ends and '*' pads.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ramgru.lab.tasks.base import IGNORE, Batch

LETTERS = 26
CHARACTERS = "abcdefghijklmnopqrstuvwxyz$|.*"
START, BAR, END, PAD = range(LETTERS, LETTERS + 4)
GRID = (5, 10, 20, 40, 80, 200, 1000)  # letters

Part = tuple[np.ndarray, np.ndarray]  # tokens (B, W), and how many of them each row uses (B, 1)


def text(tokens: np.ndarray) -> str:
    """(T,) tokens as characters.

    >>> text(np.array([26, 0, 1, 27, 0, 1, 28]))
    '$ab|ab.'
    """
    return "".join(CHARACTERS[token] for token in tokens.tolist())


def mark(token: int, rows: int) -> Part:
    """One token for every row."""
    return np.full((rows, 1), token), np.ones((rows, 1), dtype=np.int64)


def join(parts: Sequence[Part]) -> np.ndarray:
    """(B, T) int64: in each row the parts one after the other, then padding."""
    ends = np.cumsum([count for _, count in parts], axis=0)  # (parts, B, 1)
    steps = np.arange(int(ends[-1].max()))[None]  # (1, T)
    joined = np.full((len(ends[-1]), steps.size), PAD, dtype=np.int64)
    for (tokens, count), end in zip(parts, ends):
        used = np.arange(tokens.shape[1]) < count
        joined[(steps >= end - count) & (steps < end)] = tokens[used]  # row by row, both sides
    return joined


def ask(prompt: Sequence[Part], answer: Part, source: np.ndarray) -> Batch:
    """The answer after the prompt, each letter of it asked for one step before it is shown.

    source: (B, 1) the step at which the prompt shows the answer's first letter
    """
    tokens, count = answer
    inputs = join([*prompt, answer, mark(END, len(tokens))])
    begin = np.sum([part for _, part in prompt], axis=0)  # (B, 1)
    steps = np.arange(inputs.shape[1])[None]
    asked = (steps >= begin - 1) & (steps < begin - 1 + count)
    labels = np.full(inputs.shape, IGNORE, dtype=np.int64)
    labels[asked] = tokens[np.arange(tokens.shape[1]) < count]
    distance = np.where(asked, begin - 1 - source, -1)
    return Batch(inputs, labels, (begin + count + 1)[:, 0], distance)
