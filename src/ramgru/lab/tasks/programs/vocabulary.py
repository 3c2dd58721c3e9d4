"""The tokens of the program language, in a fixed order, and their JSON file.

Eight special tokens, then characters, operators and register names; an index is a token's id.
"""

from __future__ import annotations

import json
import os
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import checks

PAD, START, END, UNKNOWN = "<pad>", "<start>", "<end>", "<unknown>"
NUMBER, SPACE, TAB, STOP = "<number>", "<space>", "<tab>", "$"
SPECIALS = (PAD, START, END, UNKNOWN, NUMBER, SPACE, TAB, STOP)

DIGITS = tuple(string.digits)
MINUS = "-"
LETTERS = tuple(string.ascii_letters)

ARITHMETIC = ("ADD", "SUBTRACT", "MULTIPLY", "DIVIDE", "MAX", "MIN")  # two numbers -> number
UNARY = ("UPPERCASE", "LOWERCASE")  # a word -> word
JOINING = ("CONCATENATE",)  # two words -> word
OPERATORS = (*ARITHMETIC, *UNARY, *JOINING)

FORMAT = "ramgru program vocabulary"


def register_name(index: int) -> str:
    """r0, r1, …"""
    return f"r{index}"


class Vocabulary:
    """Tokens and their ids. `Vocabulary.standard(names=64)` is the one that the task uses.

    >>> vocabulary = Vocabulary.standard(names=4)
    >>> len(vocabulary), vocabulary.id("$"), vocabulary.token(8)
    (84, 7, '0')
    """

    def __init__(self, tokens: Iterable[str]) -> None:
        self.tokens = tuple(tokens)
        if not all(isinstance(token, str) and token for token in self.tokens):
            raise ValueError("tokens must be strings that are not empty")
        if self.tokens[: len(SPECIALS)] != SPECIALS:
            raise ValueError(
                f"tokens must begin with {' '.join(SPECIALS)}, "
                f"got {' '.join(self.tokens[: len(SPECIALS)])}"
            )
        self._ids = {token: index for index, token in enumerate(self.tokens)}
        if len(self._ids) != len(self.tokens):
            twice = next(t for i, t in enumerate(self.tokens) if self._ids[t] != i)
            raise ValueError(f"tokens must be different, got {twice!r} twice")

    @classmethod
    def standard(cls, names: int = 64) -> Vocabulary:
        """All characters and operators, and registers r0 … r(names - 1), which come last: a
        vocabulary with more names gives every earlier token the same id."""
        checks.integer("names", names, 1)
        registers = (register_name(i) for i in range(names))
        return cls((*SPECIALS, *DIGITS, MINUS, *LETTERS, *OPERATORS, *registers))

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self.tokens == other.tokens

    def __hash__(self) -> int:
        return hash(self.tokens)

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} tokens)"

    def id(self, token: str) -> int:
        """The token's id; that of <unknown> for a token that is not here."""
        return self._ids.get(token, self._ids[UNKNOWN])

    def token(self, index: int) -> str:
        """The token of this id; ValueError where there is none."""
        return self.tokens[checks.integer("token id", index, 0, len(self.tokens) - 1)]

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the tokens as JSON, in one piece; RamgruError where that fails."""
        content = {"format": FORMAT, "version": 1, "tokens": self.tokens}
        return files.write_json(Path(path), content)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """What `save` wrote; DataError for a file that is missing, broken or of another kind."""
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise DataError(f"cannot read {path}: {error.strerror or error}") from error
        except ValueError as error:  # bad UTF-8 or bad JSON
            raise DataError(f"{path} is not a vocabulary: it is no JSON ({error})") from error
        if not isinstance(content, dict) or content.get("format") != FORMAT:
            raise DataError(f'{path} is not a vocabulary: "format" must be "{FORMAT}"')
        if content.get("version") != 1:
            raise DataError(f"{path} has version {content.get('version')!r}, expected 1")
        tokens = content.get("tokens")
        if not isinstance(tokens, list):
            raise DataError(f'{path} is not a vocabulary: "tokens" must be a list')
        try:
            return cls(tokens)
        except ValueError as error:
            raise DataError(f"{path} is not a vocabulary: {error}") from error
