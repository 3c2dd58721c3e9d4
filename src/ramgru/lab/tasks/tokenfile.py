"""A user's own token file as a task: predict the next token at every step."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.tasks import checks
from ramgru.lab.tasks.registry import register_source
from ramgru.lab.tasks.source import Loaded, TokenSource, stamp

MAGIC = b"\x93NUMPY"
LARGEST = 2**31 - 1  # no vocabulary is larger; a file that says so holds something else


@register_source
@dataclass(frozen=True)
class TokenFile(TokenSource):
    """A .npy file of integers, one token each, made by a tokenizer of the user's own:

        inputs   17 4 902 4
        labels   4 902 4 17

    path:       the file; one axis, integers from 0 on; read without pickle, mapped from the disk
    vocabulary: size of the vocabulary; 0 takes the largest token of the file + 1
    length, split, validation: as in `Text`

    Chance is the share of the most frequent token of the split. Raises DataError for a file that
    is missing, broken, too short, or holds something else.
    """

    name: ClassVar[str] = "tokens"

    vocabulary: int = 0

    def __post_init__(self) -> None:
        checks.integer("vocabulary", self.vocabulary, 0)
        super().__post_init__()

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


@lru_cache(maxsize=4)
def _load_tokens(path: str, stamp: tuple[int, int]) -> Loaded:
    content = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            magic = file.read(len(MAGIC))
            content.update(magic)
            while block := file.read(1 << 20):
                content.update(block)
        if not magic:
            raise DataError(f"{path} is empty")
        if magic != MAGIC:
            raise DataError(f"{path} is not a .npy file of integers: it does not begin as one")
        tokens = np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except (ValueError, EOFError) as error:
        raise DataError(f"{path} is not a .npy file of integers: {error}") from error
    if tokens.ndim != 1 or not np.issubdtype(tokens.dtype, np.integer):
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
