"""text_lookup: continue a phrase of a passage of real text, the language reference of Python.

The text is the one that Python's own `help` shows. It is read from the standard library
(`pydoc_data.topics`), copyright Python Software Foundation, PSF License Version 2; its examples of
code also under the Zero-Clause BSD License.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import Batch, Sized, nothing_asked
from ramgru.lab.tasks.phone_book import MARK, PAD, VOCABULARY, encode
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.sampling import unique

TRIES = 100  # draws of a passage with enough phrases that stand in it once
SPLITS = ("train", "test")
TEST = 10  # one paragraph in so many, those at the end, is for testing


@register
@dataclass(frozen=True)
class TextLookup(Sized):
    """Text lookup: read a passage of real text; shown a phrase of it again, continue the phrase.

    The n-gram lookup of Jelassi et al., "Repeat after me" (arXiv 2402.01032), over English.

    A passage of Python's language reference, by character. Then, for each question, a mark (¶), a
    phrase that stands in the passage exactly once, and its continuation there, asked for character
    by character, each one step before it is shown (teacher forcing). One question, phrase 4,
    answer 3:

        inputs   a _ n a m e d _ c a t e g o r y ¶ m e d _ c a t
        labels   . . . . . . . . . . . . . . . . . . . . c a t .      ('.' = nothing asked)

    length:    characters of a passage
    questions: number of phrases asked for, one of each equal stretch of the passage, in any order
    phrase:    characters of a phrase
    answer:    characters of its continuation
    split:     "train", or "test": the last tenth of the text, which an evaluation draws from

    The text differs a little from one version of Python to the next. The metric counts characters;
    chance is the share of the most frequent one, the blank. Knowledge of English alone guesses
    better than that within words, so the share of whole answers is the stricter score.
    """

    name: ClassVar[str] = "text_lookup"
    metric: ClassVar[str] = "character accuracy"
    padding: ClassVar[int] = PAD
    easiest: ClassVar[int] = 64
    sizes: ClassVar[tuple[int, ...]] = (64, 128, 256, 512, 1024, 2048, 4096)
    smallest: ClassVar[dict[str, int]] = {"questions": 1, "phrase": 1, "answer": 1}
    vocab_size = VOCABULARY

    length: int = 256
    questions: int = 4
    phrase: int = 8
    answer: int = 8
    split: str = "train"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("length", self.length, self.least)
        checks.one_of("split", self.split, SPLITS)

    @property
    def chance(self) -> float:
        counts = np.bincount(reference(self.split))
        return float(counts.max() / counts.sum())

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        start, place = self._places(rng, rows)
        passage = reference(self.split)[start[:, None] + np.arange(self.length)]
        span = self.phrase + self.answer
        source = place[..., None] + np.arange(span)  # (B, Q, phrase + answer) steps of the passage
        asked = np.full((rows, self.questions, 1 + span), MARK)
        asked[..., 1:] = np.take_along_axis(passage[:, None], source, axis=2)
        inputs = np.concatenate([passage, asked.reshape(rows, -1)], axis=1)

        question = self.length + (1 + span) * np.arange(self.questions)[:, None]  # (Q, 1)
        step = question + self.phrase + np.arange(self.answer)  # (Q, answer)
        row, step = np.arange(rows)[:, None], step.reshape(1, -1)
        labels, distance = nothing_asked(inputs.shape)
        labels[row, step] = inputs[row, step + 1]
        distance[row, step] = step - source[..., self.phrase :].reshape(rows, -1)
        return Batch(inputs, labels, np.full(rows, inputs.shape[1]), distance)

    def _places(self, rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """-> the start of each passage in the text (B,), of each phrase in its passage (B, Q)."""
        number = phrase_numbers(self.split, self.phrase)
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
            known[left] = unique(windows)[:, places]
            left = np.flatnonzero(~np.all(np.any(known, axis=2), axis=1))
            if left.size == 0:
                chosen = np.argmax(known * (1 - rng.random(known.shape)), axis=2)  # (B, Q)
                place = places[np.arange(self.questions), chosen]
                return start, rng.permuted(place, axis=1)
        raise ValueError(
            f"phrase must be longer for length={self.length} and questions={self.questions}, got "
            f"{self.phrase}: too few phrases of so many characters stand in a passage only once"
        )

    @property
    def least(self) -> int:
        """The shortest passage that has a stretch for each question."""
        return self.questions * (self.phrase + self.answer)

    def held_out(self) -> TextLookup:
        """The same sizes over the test part."""
        return self.resized(split="test")


@lru_cache(maxsize=len(SPLITS))
def reference(split: str) -> np.ndarray:
    """(n,) int64 characters of the first nine tenths ("train") or the last ("test"); read-only.

    Topics quote each other: each paragraph is taken once, so that no test paragraph is trained on.
    White space is one blank, and characters outside of ASCII are left out. Raises DataError if the
    standard library lacks the text.
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise DataError("this Python's standard library lacks pydoc_data.topics") from error
    paragraphs = dict.fromkeys(
        " ".join(paragraph.encode("ascii", errors="ignore").decode().split())
        for name in sorted(topics)
        for paragraph in topics[name].split("\n\n")
    )
    known = [paragraph for paragraph in paragraphs if paragraph]
    boundary = len(known) - len(known) // TEST
    text = " ".join(known[:boundary] if split == "train" else known[boundary:])
    encoded = encode("".join(c for c in text if c.isprintable()))
    encoded.setflags(write=False)
    return encoded


@lru_cache(maxsize=8)
def phrase_numbers(split: str, size: int) -> np.ndarray:
    """(n - size + 1,) int64: equal phrases of `size` characters have equal numbers; read-only.

    Phrases of double the size are pairs of phrases, so their numbers come from pairs of numbers.
    """
    number, have = reference(split), 1
    while have < size:
        step = min(have, size - have)
        pairs = number[:-step] * (int(number.max()) + 1) + number[step:]
        number, have = np.unique(pairs, return_inverse=True)[1].astype(np.int64), have + step
    number.setflags(write=False)
    return number
