"""Text lookup: read a passage of real text; shown a phrase of it again, continue it.

The n-gram lookup of Jelassi et al., "Repeat after me" (arXiv 2402.01032), over English.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import characters, checks, documentation
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

GRID = (64, 128, 256, 512, 1024, 2048, 4096)  # characters of a passage
EASIEST = 64
TRIES = 100  # passages drawn in place of one with too few phrases that stand in it once


@register
@dataclass(frozen=True)
class TextLookup(Task):
    """A passage of Python's language reference (`documentation.py`: its origin, licence
    and split), by character. Then, for each question, a mark (¶), a phrase that stands in the
    passage exactly once, and what follows it there, asked for character by character, each one
    step before it is shown (teacher forcing). One question, phrase 4, answer 3:

        inputs   a _ n a m e d _ c a t e g o r y ¶ m e d _ c a t
        labels   . . . . . . . . . . . . . . . . . . . . c a t .      ('.' = nothing asked)

    length:    characters of a passage
    questions: phrases that are asked for; one of each equal stretch of the passage, in any order
    phrase:    characters of a phrase
    answer:    characters of its continuation
    split:     "train" or "test", the last tenth of the text, which an evaluation draws from

    The text differs a little from one version of Python to the next. The metric counts characters:
    chance is the share of the most frequent one, the blank. Who knows English but not the passage
    guesses better than that within words: the share of whole answers is the stricter score.
    """

    name: ClassVar[str] = "text_lookup"
    metric: ClassVar[str] = "character accuracy"
    padding: ClassVar[int] = characters.PAD

    length: int = 256
    questions: int = 4
    phrase: int = 8
    answer: int = 8
    split: str = "train"

    def __post_init__(self) -> None:
        for size in ("questions", "phrase", "answer"):
            checks.integer(size, getattr(self, size), 1)
        checks.integer("length", self.length, self.questions * (self.phrase + self.answer))
        checks.one_of("split", self.split, documentation.SPLITS)

    @property
    def vocab_size(self) -> int:
        return characters.VOCABULARY

    @property
    def chance(self) -> float:
        counts = np.bincount(documentation.tokens(self.split))
        return float(counts.max() / counts.sum())

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        start, place = self._places(rng, rows)
        passage = documentation.tokens(self.split)[start[:, None] + np.arange(self.length)]
        span = self.phrase + self.answer
        source = place[..., None] + np.arange(span)  # (B, Q, phrase + answer) steps of the passage
        asked = np.full((rows, self.questions, 1 + span), characters.MARK)
        asked[..., 1:] = np.take_along_axis(passage[:, None], source, axis=2)
        inputs = np.concatenate([passage, asked.reshape(rows, -1)], axis=1)

        question = self.length + (1 + span) * np.arange(self.questions)[:, None]  # (Q, 1)
        step = question + self.phrase + np.arange(self.answer)  # (Q, answer)
        row, step = np.arange(rows)[:, None], step.reshape(1, -1)
        labels = np.full(inputs.shape, IGNORE)
        labels[row, step] = inputs[row, step + 1]
        distance = np.full(inputs.shape, -1)
        distance[row, step] = step - source[..., self.phrase :].reshape(rows, -1)
        return Batch(inputs, labels, np.full(rows, inputs.shape[1]), distance)

    def _places(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """-> where each passage begins in the text (B,), and each phrase in its passage (B, Q)."""
        number = documentation.phrases(self.split, self.phrase)
        last = number.size + self.phrase - 1 - self.length
        if last < 0:
            raise ValueError(
                f"length must be at most {last + self.length}, the characters of the text's "
                f"{self.split} part, got {self.length}"
            )
        stretch = self.length // self.questions
        within = np.arange(stretch - self.phrase - self.answer + 1)
        places = stretch * np.arange(self.questions)[:, None] + within  # (Q, P)
        start = np.zeros(rows, dtype=np.int64)
        known = np.zeros((rows, *places.shape), dtype=bool)
        left = np.arange(rows)
        for _ in range(TRIES):
            start[left] = rng.integers(last + 1, size=left.size)
            windows = number[start[left, None] + np.arange(self.length - self.phrase + 1)]
            known[left] = _once(windows)[:, places]
            left = np.flatnonzero(~np.all(np.any(known, axis=2), axis=1))
            if left.size == 0:
                chosen = np.argmax(known * (1 - rng.random(known.shape)), axis=2)  # (B, Q)
                place = places[np.arange(self.questions), chosen]
                return start, rng.permuted(place, axis=1)
        raise ValueError(
            f"phrase must be longer for length={self.length} and questions={self.questions}, got "
            f"{self.phrase}: too few phrases of so many characters stand in a passage only once"
        )

    def curriculum(self) -> Sequence[TextLookup]:
        """Passages of 64, 128, 256, … characters, up to this task itself."""
        least = self.questions * (self.phrase + self.answer)
        doubled = (EASIEST * 2**i for i in range(self.length.bit_length()))
        return (*(self.resized(length=n) for n in doubled if least <= n < self.length), self)

    def grid(self) -> Sequence[Slice]:
        """The test part, in passages of 64 to 4,096 characters."""
        least = self.questions * (self.phrase + self.answer)
        sizes = sorted({*(n for n in GRID if n >= least), self.length})
        return tuple(Slice({"length": n}, self.resized(length=n, split="test")) for n in sizes)

    def held_out(self) -> TextLookup:
        """The same sizes over the test part."""
        return self.resized(split="test")


def _once(numbers: np.ndarray) -> np.ndarray:
    """(B, W) bool: which of numbers (B, W) stand only once in their row."""
    order = np.argsort(numbers, axis=1)
    ranked = np.take_along_axis(numbers, order, axis=1)
    differ = np.ones((len(numbers), numbers.shape[1] + 1), dtype=bool)
    differ[:, 1:-1] = ranked[:, 1:] != ranked[:, :-1]
    once = np.empty(numbers.shape, dtype=bool)
    np.put_along_axis(once, order, differ[:, 1:] & differ[:, :-1], axis=1)
    return once
