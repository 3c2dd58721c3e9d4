"""One long sequence of tokens from a file as a task: predict the next token at every step.

Drawn as random windows, or read as a `Stream` of rows that run on (truncated backpropagation).
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.stream import Stream

SPLITS = ("train", "validation")
LONGER = (1, 4, 16)  # lengths of the grid, times the training length


@dataclass(frozen=True)
class Loaded:
    """A file's content: tokens (n,), the characters they stand for, and what identifies it."""

    tokens: np.ndarray
    vocab_size: int
    characters: str | None
    digest: str


@dataclass(frozen=True)
class TokenSource(Task):
    """Next-token prediction over one long sequence; a subclass says how its file is loaded.

    path:       the file
    length:     T, tokens in a window or a chunk
    split:      "train" or "validation"
    validation: share of the file, at its end, that is kept for validation
    """

    path: str = ""
    length: int = 256
    split: str = "train"
    validation: float = 0.1

    def __post_init__(self) -> None:
        if not isinstance(self.path, str | os.PathLike):
            raise TypeError(f"path must be a file's path, got {self.path!r}")
        object.__setattr__(self, "path", os.fspath(self.path))
        if not self.path:
            raise ValueError(f"task {self.name} needs the option path, the file to read")
        checks.integer("length", self.length, 1)
        checks.one_of("split", self.split, SPLITS)
        checks.share("validation", self.validation, whole=False)
        needed, found = self.length + 1, len(self.tokens)
        if found < needed:
            raise DataError(
                f"{self.path} is too short: its {self.split} part (validation="
                f"{self.validation:g}) has {found} tokens, length={self.length} needs {needed}"
            )

    @abstractmethod
    def _load(self) -> Loaded:
        """The file's content; DataError where there is none."""

    @property
    def tokens(self) -> np.ndarray:
        """(n,) the tokens of the split: the file's beginning to train, its end to validate."""
        tokens = self._load().tokens
        boundary = len(tokens) - int(len(tokens) * self.validation)
        return tokens[:boundary] if self.split == "train" else tokens[boundary:]

    @property
    def digest(self) -> str:
        """SHA-256 of the file, to tell whether a run goes on with the data it began with."""
        return self._load().digest

    @property
    def vocab_size(self) -> int:
        return self._load().vocab_size

    @property
    def chance(self) -> float:
        """The share of the most frequent token: the best constant guess."""
        counts = np.bincount(self.tokens.astype(np.int64, copy=False))
        return float(counts.max() / counts.sum())

    def draw(self, batch_size: int, seed: int) -> Batch:
        """Windows of `length` tokens that begin anywhere in the split."""
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        starts = rng.integers(len(self.tokens) - self.length, size=(rows, 1))
        window = self.tokens[starts + np.arange(self.length + 1)].astype(np.int64)
        lengths = np.full(rows, self.length, dtype=np.int64)
        return Batch(window[:, :-1].copy(), window[:, 1:].copy(), lengths)

    def stream(self, batch_size: int) -> Stream:
        """The split as contiguous rows, `length` tokens a chunk, for a state that is carried."""
        try:
            return Stream(self.tokens, batch_size, self.length)
        except ValueError as error:
            raise DataError(f"{self.path} is too short: {error}") from error

    def grid(self) -> Sequence[Slice]:
        """The validation part in windows of 1, 4 and 16 times the length, as far as it goes."""
        longest = int(len(self._load().tokens) * self.validation) - 1
        if longest < 1:
            return (Slice({"length": self.length}, self),)
        lengths = {min(self.length * times, longest) for times in LONGER}
        return tuple(
            Slice({"length": n}, self.resized(length=n, split="validation"))
            for n in sorted(lengths)
        )

    def held_out(self) -> Task:
        """The same windows from the validation part, where there is one."""
        return self.grid()[0].task


def stamp(path: str) -> tuple[int, int]:
    """Changes when the file does, so that a cached content is not used for another one."""
    try:
        status = os.stat(path)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    return status.st_mtime_ns, status.st_size


def read(path: str) -> bytes:
    """The bytes of a file; DataError where it is missing or empty."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    if not content:
        raise DataError(f"{path} is empty")
    return content
