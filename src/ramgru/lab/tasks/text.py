"""Tasks over a user's own file, with the next token as the answer at every step: text, tokens.

Drawn as random windows, or read as a `Stream` of continuous rows for truncated backpropagation.
"""

from __future__ import annotations

import hashlib
import os
from abc import abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import archive, checks
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.stream import Stream

SPLITS = ("train", "validation")
LONGER = (1, 4, 16)  # lengths of the grid, as multiples of the training length
UNITS = ("character", "byte")
LARGEST = 2**31 - 1  # no vocabulary is larger: a file with a larger token holds something else


@dataclass(frozen=True)
class Loaded:
    """A file's content: tokens (n,), the vocabulary's characters if any, and the file's SHA-256."""

    tokens: np.ndarray
    vocab_size: int
    characters: str | None
    digest: str


@dataclass(frozen=True)
class FromFile(Task):
    """A task that reads a file.

    path: the file
    """

    path: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path must be a file's path, got {self.path!r}")
        object.__setattr__(self, "path", os.fspath(self.path))
        if not self.path:
            raise ValueError(f"task {self.name} needs the option path, the file to read")


@dataclass(frozen=True)
class TokenSource(FromFile):
    """Next-token prediction over one long sequence; a subclass loads its file.

    length:     T, tokens in a window or a chunk
    split:      "train" or "validation"
    validation: share of the file, at its end, that is held out for validation
    """

    smallest: ClassVar[dict[str, int]] = {"length": 1}

    length: int = 256
    split: str = "train"
    validation: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of("split", self.split, SPLITS)
        checks.share("validation", self.validation, whole=False)
        self._check_length()

    def _check_length(self) -> None:
        needed, found = self.length + 1, len(self.tokens)
        if found < needed:
            raise DataError(
                f"{self.path} is too short: its {self.split} part (validation="
                f"{self.validation:g}) has {found} tokens, length={self.length} needs {needed}"
            )

    @abstractmethod
    def _load(self) -> Loaded:
        """The file's content; DataError if the file is missing, empty or broken."""

    @property
    def tokens(self) -> np.ndarray:
        """(n,) the tokens of the split: the file's beginning to train, its end to validate."""
        tokens = self._load().tokens
        boundary = len(tokens) - int(len(tokens) * self.validation)
        return tokens[:boundary] if self.split == "train" else tokens[boundary:]

    @property
    def digest(self) -> str:
        """SHA-256 of the file, to detect that a resumed run has other data."""
        return self._load().digest

    @property
    def vocab_size(self) -> int:
        return self._load().vocab_size

    @property
    def chance(self) -> float:
        """The share of the most frequent token: the best constant guess."""
        counts = np.bincount(self.tokens.astype(np.int64, copy=False))
        return float(counts.max() / counts.sum())

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        """Windows of `length` tokens that begin anywhere in the split."""
        starts = rng.integers(len(self.tokens) - self.length, size=(rows, 1))
        window = self.tokens[starts + np.arange(self.length + 1)].astype(np.int64)
        lengths = np.full(rows, self.length, dtype=np.int64)
        return Batch(window[:, :-1].copy(), window[:, 1:].copy(), lengths)

    def stream(self, batch_size: int) -> Stream:
        """The split as continuous rows, `length` tokens a chunk, for a carried state."""
        try:
            return Stream(self.tokens, batch_size, self.length)
        except ValueError as error:
            raise DataError(f"{self.path} is too short: {error}") from error

    def grid(self) -> Sequence[Slice]:
        """The validation part in windows of 1, 4 and 16 times the length, cut to what there is."""
        longest = int(len(self._load().tokens) * self.validation) - 1
        if longest < 1:
            return (Slice({"length": self.length}, self),)
        lengths = {min(self.length * times, longest) for times in LONGER}
        held_out = self.resized(split="validation", length=min(lengths))
        return tuple(held_out.at(length=n) for n in sorted(lengths))

    def held_out(self) -> Task:
        """The same windows from the validation part, if there is one."""
        return self.grid()[0].task


@register
@dataclass(frozen=True)
class Text(TokenSource):
    """Text: predict the next character or byte of a text file in UTF-8.

    "to be", length 4:

        inputs   t o _ b
        labels   o _ b e

    unit:     "character" or "byte" (a vocabulary of 256)
    alphabet: the characters that are tokens, by character only; "" takes the file's own. To read
              another text with a trained model, give the alphabet of the training text

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
        """The text of tokens; bytes that are not UTF-8 become U+FFFD."""
        return decode(tokens, self.characters)

    def _load(self) -> Loaded:
        return _load_text(self.path, self.unit, self.alphabet, stamp(self.path))


@register
@dataclass(frozen=True)
class TokenFile(TokenSource):
    """Tokens: predict the next token of a .npy file of integers, from the user's own tokenizer.

        inputs   17 4 902 4
        labels   4 902 4 17

    path:       the file; one axis, integers from 0 on; memory-mapped, read without pickle
    vocabulary: size of the vocabulary; 0 takes the largest token of the file + 1

    Chance is the share of the most frequent token of the split. Raises DataError for a file that
    is missing, broken, too short, or holds something else.
    """

    name: ClassVar[str] = "tokens"
    smallest: ClassVar[dict[str, int]] = {"length": 1, "vocabulary": 0}

    vocabulary: int = 0

    def _load(self) -> Loaded:
        loaded = _load_tokens(self.path, stamp(self.path))
        if self.vocabulary == 0:
            return loaded
        if loaded.vocab_size > self.vocabulary:
            raise DataError(
                f"{self.path} holds the token {loaded.vocab_size - 1}, "
                f"vocabulary={self.vocabulary} allows tokens up to {self.vocabulary - 1}"
            )
        return Loaded(loaded.tokens, self.vocabulary, None, loaded.digest)


def stamp(path: str) -> tuple[int, int]:
    """Modification time and size of a file: the key of its cached content."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size


def read(path: str) -> bytes:
    """The bytes of a file; DataError if it is missing or empty."""
    try:
        content = files.read(path, archive.MOST)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not content:
        raise DataError(f"{path} is empty")
    return content


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


@lru_cache(maxsize=4)
def _load_tokens(path: str, stamp: tuple[int, int]) -> Loaded:
    content = hashlib.sha256()
    try:
        with files.open_regular(path) as file:
            magic = file.read(len(archive.MAGIC))
            content.update(magic)
            while block := file.read(1 << 20):
                content.update(block)
        if not magic:
            raise DataError(f"{path} is empty")
        if magic != archive.MAGIC:
            raise DataError(f"{path} is not a .npy file of integers: it does not begin as one")
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except archive.BROKEN as error:
        raise DataError(f"{path} is not a .npy file of integers: {error}") from error
    if tokens.ndim != 1 or tokens.dtype.kind not in "iu":
        raise DataError(
            f"{path} must hold integers along one axis, got {tokens.dtype} of shape {tokens.shape}"
        )
    if tokens.size == 0:
        raise DataError(f"{path} is empty")
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0:
        raise DataError(f"{path} holds the token {low}, expected tokens from 0 on")
    if high > LARGEST:
        raise DataError(f"{path} holds the token {high}, expected tokens up to {LARGEST}")
    return Loaded(tokens, high + 1, None, content.hexdigest())


def encode(text: str, characters: str | None) -> np.ndarray:
    """(n,) int64 tokens of a text: places in `characters`, which is sorted; None for UTF-8 bytes.

    Raises DataError for a character that is no token.
    """
    if characters is None:
        try:
            return np.frombuffer(text.encode("utf-8"), dtype=np.uint8).astype(np.int64)
        except UnicodeEncodeError as error:  # half of a pair of surrogates
            raise DataError(f"the character {text[error.start]!r} has no bytes") from error
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
    """The text of tokens, the inverse of `encode`; bytes that are not UTF-8 become U+FFFD."""
    if characters is None:
        return bytes(int(token) for token in tokens).decode("utf-8", errors="replace")
    return "".join(characters[int(token)] for token in tokens)


def _points(text: str) -> np.ndarray:
    return np.frombuffer(text.encode("utf-32-le", errors="surrogatepass"), dtype="<u4")
