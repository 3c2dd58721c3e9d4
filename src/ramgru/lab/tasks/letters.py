"""Strings of letters: string_copy, and ngram_lookup (Jelassi et al., arXiv 2402.01032).

The tokens are the paper's: the letters a to z are 0 to 25, then '$' begins, '|' separates, '.' ends
and '*' pads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import Batch, Ranged, nothing_asked
from ramgru.lab.tasks.registry import register

LETTERS = 26
CHARACTERS = "abcdefghijklmnopqrstuvwxyz$|.*"
START, BAR, END, PAD = range(LETTERS, LETTERS + 4)

Part = tuple[np.ndarray, np.ndarray]  # tokens (B, W), and the number that each row uses (B, 1)


@dataclass(frozen=True)
class Strings(Ranged):
    """A prompt of strings of letters, then an answer that is a string of letters.

    min_length: the shortest string
    length:     the longest; each example draws its own length uniformly between the two
    """

    metric: ClassVar[str] = "letter accuracy"
    padding: ClassVar[int] = PAD
    sizes: ClassVar[tuple[int, ...]] = (5, 10, 20, 40, 80, 200, 1000)
    vocab_size = len(CHARACTERS)
    chance = 1 / LETTERS

    min_length: int = 5
    length: int = 20


@register
@dataclass(frozen=True)
class StringCopy(Strings):
    """String copy: read a string of letters, then write it again.

    Jelassi et al., "Repeat after me: transformers are better than state space models at copying"
    (arXiv 2402.01032), §3.

    `$s|s.` for a string s of random letters. The second s is asked for letter by letter, each one
    step before it is shown (teacher forcing):

        inputs   $ d a d z | d a d z .
        labels   . . . . . d a d z . .      (labels: '.' = nothing asked)

    The metric counts letters; chance is 1/26. As in the paper's score, the end mark is not asked
    for.
    """

    name: ClassVar[str] = "string_copy"

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)
        string = rng.integers(0, LETTERS, size=(rows, int(count.max()))), count
        return ask([mark(START, rows), string, mark(BAR, rows)], string, np.ones_like(count))


@register
@dataclass(frozen=True)
class NgramLookup(Strings):
    """N-gram lookup: continue a string from the only place where a given n-gram stands.

    Jelassi et al., "Repeat after me: transformers are better than state space models at copying"
    (arXiv 2402.01032), §3. There the n-gram occurs once among those that can be asked for, here
    once in the whole string.

    A string s of random letters and an n-gram g that stands in it exactly once; the answer is the
    rest of s after g, at least one letter. It is asked for letter by letter, each one step before
    it is shown (teacher forcing). With n = 2, in the form suffix, `$s|g answer.`:

        inputs   $ d a d z q | d z q .
        labels   . . . . . . . . q . .      (labels: '.' = nothing asked)

    in the form prefix, `$g|s|answer.`:

        inputs   $ d z | d a d z q | q .
        labels   . . . . . . . . . q . .

    form: "suffix": the n-gram comes after the string; "prefix": before it
    n:    letters of the n-gram, fewer than those of the shortest string

    The metric counts letters; chance is 1/26. As in the paper's score, the end mark is not asked
    for.
    """

    name: ClassVar[str] = "ngram_lookup"
    smallest: ClassVar[dict[str, int]] = {"n": 1}
    FORMS: ClassVar[tuple[str, ...]] = ("suffix", "prefix")

    form: str = "suffix"
    n: int = 3

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, self.FORMS)
        super().__post_init__()

    @property
    def least(self) -> int:
        return self.n + 1

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)
        place = rng.integers(0, count - self.n)  # (B, 1) the place of the n-gram
        string = rng.integers(0, LETTERS, size=(rows, int(count.max())))
        make_unique(rng, string, place, self.n)

        after = place + self.n  # the place of the answer
        key = (
            np.take_along_axis(string, place + np.arange(self.n), axis=1),
            np.full_like(count, self.n),
        )
        rest = np.minimum(after + np.arange(int((count - after).max())), string.shape[1] - 1)
        answer = np.take_along_axis(string, rest, axis=1), count - after
        start, bar = mark(START, rows), mark(BAR, rows)
        if self.form == "suffix":
            return ask([start, (string, count), bar, key], answer, 1 + after)
        return ask([start, key, bar, (string, count), bar], answer, self.n + 2 + after)


def make_unique(rng: np.random.Generator, string: np.ndarray, place: np.ndarray, n: int) -> None:
    """Change letters of string (B, L) until the n letters at place (B, 1) stand nowhere else.

    At every other place a letter outside the n-gram itself is drawn again.
    """
    ngram = np.take_along_axis(string, place + np.arange(n), axis=1)[:, None]  # (B, 1, n)
    windows = np.lib.stride_tricks.sliding_window_view(string, n, axis=1)  # (B, L - n + 1, n)
    while True:
        row, start = np.nonzero((windows == ngram).all(axis=2))
        again = start != place[row, 0]
        row, start = row[again], start[again]
        if row.size == 0:
            return
        outside = np.where(start < place[row, 0], start, start + n - 1)
        string[row, outside] = rng.integers(0, LETTERS, size=row.size)


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
    """(B, T) int64: the parts of each row one after the other, then padding."""
    ends = np.cumsum([count for _, count in parts], axis=0)  # (parts, B, 1)
    steps = np.arange(int(ends[-1].max()))[None]  # (1, T)
    joined = np.full((len(ends[-1]), steps.size), PAD, dtype=np.int64)
    for (tokens, count), end in zip(parts, ends):
        used = np.arange(tokens.shape[1]) < count
        joined[(steps >= end - count) & (steps < end)] = tokens[used]  # row by row, both sides
    return joined


def ask(prompt: Sequence[Part], answer: Part, source: np.ndarray) -> Batch:
    """The answer after the prompt, each letter asked for one step before it is shown.

    source: (B, 1) the step at which the prompt shows the answer's first letter
    """
    tokens, count = answer
    inputs = join([*prompt, answer, mark(END, len(tokens))])
    begin = np.sum([part for _, part in prompt], axis=0)  # (B, 1)
    steps = np.arange(inputs.shape[1])[None]
    asked = (steps >= begin - 1) & (steps < begin - 1 + count)
    labels, _ = nothing_asked(inputs.shape)
    labels[asked] = tokens[np.arange(tokens.shape[1]) < count]
    distance = np.where(asked, begin - 1 - source, -1)
    return Batch(inputs, labels, (begin + count + 1)[:, 0], distance)
