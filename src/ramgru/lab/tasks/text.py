"""A user's own text as a task: predict the next character or byte at every step."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import checks
from ramgru.lab.tasks.registry import register_source
from ramgru.lab.tasks.source import Loaded, TokenSource, read, stamp

UNITS = ("character", "byte")


@register_source
@dataclass(frozen=True)
class Text(TokenSource):
    """A text file in UTF-8, by character or by byte. "to be", length 4:

        inputs   t o _ b
        labels   o _ b e

    path:       the file
    unit:       "character" or "byte" (a vocabulary of 256)
    alphabet:   the characters that are tokens, by character only; "" takes the file's own. Give
                that of the training text to read another one with the same model.
    length:     T, tokens in a window or a chunk
    split:      "train" or "validation"
    validation: share of the file, at its end, that is kept for validation

    Chance is the share of the most frequent token of the split. Raises DataError for a file that
    is missing, empty, too short, or not UTF-8.
    """

    name: ClassVar[str] = "text"

    unit: str = "character"
    alphabet: str = ""

    def __post_init__(self) -> None:
        checks.one_of("unit", self.unit, UNITS)
        if self.alphabet and self.unit == "byte":
            raise ValueError('alphabet must be "" for unit="byte"')
        super().__post_init__()

    @property
    def characters(self) -> str | None:
        """The vocabulary in the order of its tokens; None by byte."""
        return self._load().characters

    def encode(self, text: str) -> np.ndarray:
        """(n,) int64 tokens of a text; DataError for a character that is no token."""
        return encode(text, self.characters)

    def decode(self, tokens: Iterable[int]) -> str:
        """The text of tokens; by byte, what is no UTF-8 becomes U+FFFD."""
        return decode(tokens, self.characters)

    def _load(self) -> Loaded:
        return _load_text(self.path, self.unit, self.alphabet, stamp(self.path))


@lru_cache(maxsize=4)
def _load_text(path: str, unit: str, alphabet: str, stamp: tuple[int, int]) -> Loaded:
    content = read(path)
    digest = hashlib.sha256(content).hexdigest()
    if unit == "byte":
        return Loaded(np.frombuffer(content, dtype=np.uint8), 256, None, digest)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f'{path} is not UTF-8: byte {error.start} is {content[error.start]:#04x}; unit="byte" '
            "reads any file"
        ) from error
    if not text:
        raise DataError(f"{path} is empty")
    characters = "".join(sorted(set(alphabet or text)))
    try:
        tokens = encode(text, characters).astype(np.int32)
    except DataError as error:
        raise DataError(f"{path}: {error}") from error
    return Loaded(tokens, len(characters), characters, digest)


def encode(text: str, characters: str | None) -> np.ndarray:
    """(n,) int64 tokens of a text: places in `characters`, which is sorted; None for UTF-8 bytes.

    Raises DataError for a character that is no token.
    """
    if characters is None:
        return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)
    # Sorted characters have sorted code points, so a binary search finds each token.
    known = _points(characters)
    points = _points(text)
    tokens = np.minimum(np.searchsorted(known, points), len(known) - 1)
    strange = np.flatnonzero(known[tokens] != points)
    if strange.size:
        raise DataError(
            f"the character {chr(points[strange[0]])!r} is not among the "
            f"{len(characters)} characters of the vocabulary"
        )
    return tokens.astype(np.int64)


def decode(tokens: Iterable[int], characters: str | None) -> str:
    """The text of tokens, as `encode` made them; what is no UTF-8 becomes U+FFFD."""
    if characters is None:
        return bytes(int(token) for token in tokens).decode("utf-8", errors="replace")
    return "".join(characters[int(token)] for token in tokens)


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
