"""N-gram lookup: continue a string from the one place at which a given n-gram stands.

Jelassi et al., "Repeat after me: transformers are better than state space models at copying"
(arXiv 2402.01032), §3. There the n-gram is one that occurs once among those that can be asked for,
here once in the whole string.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, letters, ranged
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.registry import register

FORMS = ("suffix", "prefix")


@register
@dataclass(frozen=True)
class NgramLookup(Task):
    """A string s of random letters and an n-gram g that stands in it exactly once; the answer is
    the rest of s after g, at least one letter. It is asked for letter by letter, each one step
    before it is shown (teacher forcing). With n = 2, in the form suffix, `$s|g answer.`:

        inputs   $ d a d z q | d z q .
        labels   . . . . . . . . q . .      (labels: '.' = nothing asked)

    in the form prefix, `$g|s|answer.`:

        inputs   $ d z | d a d z q | q .
        labels   . . . . . . . . . q . .

    form:       "suffix": the n-gram comes after the string; "prefix": before it
    n:          letters of the n-gram
    min_length: the shortest string, longer than the n-gram
    length:     the longest; each example's own is uniform between the two (ragged batch)

    The metric counts letters: a guess is right with chance 1/26. As in the paper's score, the end
    mark is not asked for.
    """

    name: ClassVar[str] = "ngram_lookup"
    metric: ClassVar[str] = "letter accuracy"
    padding: ClassVar[int] = letters.PAD

    form: str = "suffix"
    n: int = 3
    min_length: int = 5
    length: int = 20

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, FORMS)
        checks.integer("n", self.n, 1)
        ranged.check(self, "length", self.n + 1)

    @property
    def vocab_size(self) -> int:
        return len(letters.CHARACTERS)

    @property
    def chance(self) -> float:
        return 1 / letters.LETTERS

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))
        place = rng.integers(0, count - self.n)  # (B, 1) where the n-gram stands
        string = rng.integers(0, letters.LETTERS, size=(rows, int(count.max())))
        make_unique(rng, string, place, self.n)

        after = place + self.n  # where the answer stands
        key = (
            np.take_along_axis(string, place + np.arange(self.n), axis=1),
            np.full_like(count, self.n),
        )
        rest = np.minimum(after + np.arange(int((count - after).max())), string.shape[1] - 1)
        answer = np.take_along_axis(string, rest, axis=1), count - after
        start, bar = (letters.mark(token, rows) for token in (letters.START, letters.BAR))
        if self.form == "suffix":
            return letters.ask([start, (string, count), bar, key], answer, 1 + after)
        return letters.ask([start, key, bar, (string, count), bar], answer, self.n + 2 + after)

    def curriculum(self) -> Sequence[NgramLookup]:
        """Strings of up to 5, 10, 20, … letters, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Strings of one length each: within training, then to 1,000 letters."""
        return ranged.slices(self, "length", (size for size in letters.GRID if size > self.n))


def make_unique(rng: np.random.Generator, string: np.ndarray, place: np.ndarray, n: int) -> None:
    """Changes letters of string (B, L) until the n letters at place (B, 1) stand nowhere else.

    Wherever they do, a letter outside the n-gram itself is drawn again.
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
        string[row, outside] = rng.integers(0, letters.LETTERS, size=row.size)
