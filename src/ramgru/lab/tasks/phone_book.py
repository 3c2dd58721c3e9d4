"""Phone book: read a list of names with their numbers, or a log; look some of the entries up.

The phone-book look-up of Jelassi et al., "Repeat after me" (arXiv 2402.01032), by character.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import characters, checks, ranged, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

FORMS = ("phone", "log")
GRID = (4, 8, 16, 32, 64, 256, 1024)  # entries
CONSONANTS, VOWELS, SYLLABLES = "bcdfghjklmnprstvwxz", "aeiou", 3  # of a name
DIGITS = 7  # of a number
HEXADECIMAL, ID = "0123456789abcdef", 5  # digits of a log's id
LEVELS = ("debug", "info", "notice", "warning", "error", "critical")
NOTHING = -1  # a place that is left out of the row


@register
@dataclass(frozen=True)
class PhoneBook(Task):
    """Entries of a key, a blank, a value and a mark (¶), each key only once; then some of them
    again, in any order. Their values are asked for character by character, each one step before it
    is shown (teacher forcing). In the form phone, two entries, one question, numbers cut short:

        inputs   K a m o r u _ 4 0 8 ¶ T i l e s a _ 7 1 3 ¶ K a m o r u _ 4 0 8 ¶
        labels   . . . . . . . . . . . . . . . . . . . . . . . . . . . . 4 0 8 . .

    and in the form log:

        inputs   # 3 f a 9 1 _ e r r o r ¶ # 0 b 2 7 c _ i n f o ¶ # 3 f a 9 1 _ e r r o r ¶
        labels   . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . e r r o r . .

    form:        "phone": made-up names of three syllables with numbers of seven digits;
                 "log": ids of five hexadecimal digits with one of six levels
    min_entries: the fewest entries, no less than the questions
    entries:     the most; each example's own number is uniform between the two (ragged batch)
    questions:   entries that are looked up

    Digits and levels are equally likely. The metric counts characters: chance is the share of the
    most frequent one, 1/10 for digits; the letters after the first of a level follow from it, so
    the share of whole answers is the stricter score ('.' = nothing asked).
    """

    name: ClassVar[str] = "phone_book"
    metric: ClassVar[str] = "character accuracy"
    padding: ClassVar[int] = characters.PAD

    form: str = "phone"
    min_entries: int = 4
    entries: int = 16
    questions: int = 4

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, FORMS)
        checks.integer("questions", self.questions, 1)
        ranged.check(self, "entries", self.questions)
        known = 16**ID if self.form == "log" else (len(CONSONANTS) * len(VOWELS)) ** SYLLABLES
        checks.integer("entries", self.entries, 1, known)

    @property
    def vocab_size(self) -> int:
        return characters.VOCABULARY

    @property
    def chance(self) -> float:
        if self.form == "phone":
            return 1 / 10
        counts = np.bincount(characters.encode("".join(LEVELS)))
        return float(counts.max() / counts.sum())

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_entries, self.entries + 1, size=(rows, 1))
        most = int(count.max())
        keys, values = (_names if self.form == "phone" else _ids)(rng, rows, most)
        blank = np.zeros((rows, most, 1), dtype=np.int64)
        mark = np.full((rows, most, 1), characters.MARK)
        entry = np.concatenate([keys, blank, values, mark], axis=2)  # (B, E, W)
        entry[np.arange(most) >= count] = NOTHING

        order = np.where(np.arange(most) < count, rng.random((rows, most)), 2)
        asked = np.argsort(order, axis=1)[:, : self.questions]  # (B, Q) entries
        question = np.take_along_axis(entry, asked[..., None], axis=1)
        row = np.concatenate([entry.reshape(rows, -1), question.reshape(rows, -1)], axis=1)

        shown = row != NOTHING
        step = np.cumsum(shown, axis=1) - 1  # (B, places) at which step a place stands
        width, first = entry.shape[2], keys.shape[2]  # of an entry; its blank
        value = first + np.arange(values.shape[2])  # the place before each character of a value
        label = np.full(row.shape, IGNORE)
        source = np.zeros_like(row)  # the place that holds the answer
        here = ((most + np.arange(self.questions))[:, None] * width + value).reshape(1, -1)
        label[:, here[0]] = np.take_along_axis(row, here + 1, axis=1)
        source[:, here[0]] = (asked[..., None] * width + value + 1).reshape(rows, -1)
        label[(label == NOTHING) | ~shown] = IGNORE
        away = np.where(label == IGNORE, -1, step - np.take_along_axis(step, source, axis=1))

        lengths = shown.sum(axis=1)
        kept = np.arange(int(lengths.max())) < lengths[:, None]  # (B, T)

        def close_up(places: np.ndarray, beyond: int) -> np.ndarray:
            steps = np.full(kept.shape, beyond)
            steps[kept] = places[shown]  # row by row, both sides
            return steps

        inputs = close_up(row, characters.PAD)
        return Batch(inputs, close_up(label, IGNORE), lengths, close_up(away, -1))

    def curriculum(self) -> Sequence[PhoneBook]:
        """Up to 4, 8, 16, … entries, up to this task itself."""
        return ranged.stages(self, "entries", 4)

    def grid(self) -> Sequence[Slice]:
        """One number of entries each: within training, then to 1,024."""
        return ranged.slices(self, "entries", (n for n in GRID if n >= self.questions))


def _digits(codes: np.ndarray, base: int, count: int) -> np.ndarray:
    """(..., count) the digits of codes (...), the last one first."""
    return codes[..., None] // base ** np.arange(count) % base


def _names(rng: np.random.Generator, rows: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """-> names (B, E, 6) and numbers (B, E, 7) as characters."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    spelled = characters.encode("".join(syllables)).reshape(-1, 2)
    codes = sampling.distinct(rng, rows, entries, len(syllables) ** SYLLABLES)
    names = spelled[_digits(codes, len(syllables), SYLLABLES)].reshape(rows, entries, -1)
    names[..., 0] += ord("A") - ord("a")
    zero = int(characters.encode("0")[0])
    return names, zero + rng.integers(10, size=(rows, entries, DIGITS))


def _ids(rng: np.random.Generator, rows: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """-> ids (B, E, 6) and levels (B, E, 8) as characters, NOTHING after a short level."""
    codes = sampling.distinct(rng, rows, entries, 16**ID)
    digits = characters.encode(HEXADECIMAL)[_digits(codes, 16, ID)]
    hash_sign = np.broadcast_to(characters.encode("#"), (rows, entries, 1))
    longest = max(map(len, LEVELS))
    spelled = np.full((len(LEVELS), longest), NOTHING)
    for level, name in zip(spelled, LEVELS):
        level[: len(name)] = characters.encode(name)
    ids = np.concatenate([hash_sign, digits], axis=2)
    return ids, spelled[rng.integers(len(LEVELS), size=(rows, entries))]
