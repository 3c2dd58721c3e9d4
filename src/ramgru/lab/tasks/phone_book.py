"""phone_book: look entries of a list up, by character; printable ASCII as tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Ranged
from ramgru.lab.tasks.registry import register

FIRST = ord(" ")  # token 0; '~' is 94
MARK, PAD = 95, 96  # between parts; beyond the end
VOCABULARY = 97

FORMS = ("phone", "log")
CONSONANTS, VOWELS, SYLLABLES = "bcdfghjklmnprstvwxz", "aeiou", 3  # of a name
DIGITS = 7  # of a number
HEXADECIMAL, ID = "0123456789abcdef", 5  # digits of a log's id
LEVELS = ("debug", "info", "notice", "warning", "error", "critical")
NOTHING = -1  # a place that the row leaves out


@register
@dataclass(frozen=True)
class PhoneBook(Ranged):
    """Phone book: read a list of names with numbers, or a log, then look some entries up.

    The phone-book look-up of Jelassi et al., "Repeat after me" (arXiv 2402.01032), by character.

    Entries of a key, a blank, a value and a mark (¶), each key only once; then some entries again,
    in any order. Their values are asked for character by character, each one step before it is
    shown (teacher forcing). In the form phone, two entries, one question, shortened numbers:

        inputs   K a m o r u _ 4 0 8 ¶ T i l e s a _ 7 1 3 ¶ K a m o r u _ 4 0 8 ¶
        labels   . . . . . . . . . . . . . . . . . . . . . . . . . . . . 4 0 8 . .

    and in the form log:

        inputs   # 3 f a 9 1 _ e r r o r ¶ # 0 b 2 7 c _ i n f o ¶ # 3 f a 9 1 _ e r r o r ¶
        labels   . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . . e r r o r . .

    form:        "phone": made-up names of three syllables with numbers of seven digits;
                 "log": ids of five hexadecimal digits with one of six levels
    min_entries: the fewest entries, no fewer than the questions
    entries:     the most; each example draws its own number uniformly between the two
    questions:   number of entries looked up

    Digits and levels are equally likely. The metric counts characters; chance is the share of the
    most frequent one, 1/10 for digits. The first letter of a level determines the others, so the
    share of whole answers is the stricter score ('.' = nothing asked).
    """

    name: ClassVar[str] = "phone_book"
    metric: ClassVar[str] = "character accuracy"
    padding: ClassVar[int] = PAD
    axis: ClassVar[str] = "entries"
    easiest: ClassVar[int] = 4
    sizes: ClassVar[tuple[int, ...]] = (4, 8, 16, 32, 64, 256, 1024)
    smallest: ClassVar[dict[str, int]] = {"questions": 1}
    vocab_size = VOCABULARY

    form: str = "phone"
    min_entries: int = 4
    entries: int = 16
    questions: int = 4

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, FORMS)
        super().__post_init__()
        known = 16**ID if self.form == "log" else (len(CONSONANTS) * len(VOWELS)) ** SYLLABLES
        checks.integer("entries", self.entries, 1, known)

    @property
    def least(self) -> int:
        return self.questions

    @property
    def chance(self) -> float:
        if self.form == "phone":
            return 1 / 10
        counts = np.bincount(encode("".join(LEVELS)))
        return float(counts.max() / counts.sum())

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)
        most = int(count.max())
        keys, values = (_names if self.form == "phone" else _ids)(rng, rows, most)
        blank = np.zeros((rows, most, 1), dtype=np.int64)
        mark = np.full((rows, most, 1), MARK)
        entry = np.concatenate([keys, blank, values, mark], axis=2)  # (B, E, W)
        entry[np.arange(most) >= count] = NOTHING

        order = np.where(np.arange(most) < count, rng.random((rows, most)), 2)
        asked = np.argsort(order, axis=1)[:, : self.questions]  # (B, Q) entries
        question = np.take_along_axis(entry, asked[..., None], axis=1)
        row = np.concatenate([entry.reshape(rows, -1), question.reshape(rows, -1)], axis=1)

        shown = row != NOTHING
        step = np.cumsum(shown, axis=1) - 1  # (B, places) the step of each place
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
            """(B, T): the shown places, without the gaps, then padding."""
            steps = np.full(kept.shape, beyond)
            steps[kept] = places[shown]  # row by row, both sides
            return steps

        inputs = close_up(row, PAD)
        return Batch(inputs, close_up(label, IGNORE), lengths, close_up(away, -1))


def encode(text: str) -> np.ndarray:
    """(n,) int64 tokens of a text; UnicodeEncodeError outside of ASCII.

    >>> encode("a ~")
    array([65,  0, 94])
    """
    return np.frombuffer(text.encode("ascii"), dtype=np.uint8).astype(np.int64) - FIRST


def _digits(codes: np.ndarray, base: int, count: int) -> np.ndarray:
    """(..., count) the digits of codes (...), the last one first."""
    return codes[..., None] // base ** np.arange(count) % base


def _names(rng: np.random.Generator, rows: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """-> names (B, E, 6) and numbers (B, E, 7) as characters."""
    syllables = [consonant + vowel for consonant in CONSONANTS for vowel in VOWELS]
    spelled = encode("".join(syllables)).reshape(-1, 2)
    codes = sampling.distinct(rng, rows, entries, len(syllables) ** SYLLABLES)
    names = spelled[_digits(codes, len(syllables), SYLLABLES)].reshape(rows, entries, -1)
    names[..., 0] += ord("A") - ord("a")
    zero = int(encode("0")[0])
    return names, zero + rng.integers(10, size=(rows, entries, DIGITS))


def _ids(rng: np.random.Generator, rows: int, entries: int) -> tuple[np.ndarray, np.ndarray]:
    """-> ids (B, E, 6) and levels (B, E, 8) as characters, NOTHING after a short level."""
    codes = sampling.distinct(rng, rows, entries, 16**ID)
    digits = encode(HEXADECIMAL)[_digits(codes, 16, ID)]
    hash_sign = np.broadcast_to(encode("#"), (rows, entries, 1))
    longest = max(map(len, LEVELS))
    spelled = np.full((len(LEVELS), longest), NOTHING)
    for level, name in zip(spelled, LEVELS):
        level[: len(name)] = encode(name)
    ids = np.concatenate([hash_sign, digits], axis=2)
    return ids, spelled[rng.integers(len(LEVELS), size=(rows, entries))]
