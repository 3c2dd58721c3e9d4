"""Text of programs to tokens to ids and back. Numbers and words are spelled by characters."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ramgru.lab.tasks.programs.vocabulary import (
    END,
    NUMBER,
    OPERATORS,
    PAD,
    SPACE,
    SPECIALS,
    START,
    STOP,
    TAB,
    Vocabulary,
)

_WRITTEN = {NUMBER: "#", SPACE: " ", TAB: "\t"}  # how a token looks in text, where it differs
_READ = {text: token for token, text in _WRITTEN.items()}

# An operator's name is an operator only before a space: no word is followed by one, so the word
# "ADD" can be written into a register like any other.
_TOKEN = re.compile(
    "|".join(re.escape(token) for token in SPECIALS)
    + rf"|(?<![A-Za-z])(?:{'|'.join(OPERATORS)})(?= |{SPACE})"
    + r"|(?<![A-Za-z])r[0-9]+"
    + r"|\n(?P<newline>)"
    + r"|.",
    re.DOTALL,
)


def split(text: str) -> list[str]:
    """The tokens of a program's text. Line breaks are there for people and are left out.

    >>> split("ADD r1 r12\\t#54$")
    ['ADD', '<space>', 'r1', '<space>', 'r12', '<tab>', '<number>', '5', '4', '$']
    """
    return [
        _READ.get(match.group(), match.group())
        for match in _TOKEN.finditer(text)
        if match.group("newline") is None
    ]


def join(tokens: Iterable[str], *, lines: bool = False) -> str:
    """The text of tokens; with lines=True a line break after each statement."""
    text = "".join(_WRITTEN.get(token, token) for token in tokens)
    return text.replace(STOP, STOP + "\n") if lines else text


class Tokenizer:
    """Text to ids and back, with one vocabulary. Tokens that it lacks become <unknown>.

    >>> tokenizer = Tokenizer(Vocabulary.standard(names=4))
    >>> tokenizer.decode(tokenizer.encode("r1 #42$r1\\t#42$"))
    'r1 #42$r1\\t#42$'
    """

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.vocabulary = vocabulary

    def encode(self, text: str, *, marks: bool = False) -> list[int]:
        """Ids of a program's text; with marks=True between <start> and <end>."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        tokens = split(text)
        if marks:
            tokens = [START, *tokens, END]
        return [self.vocabulary.id(token) for token in tokens]

    def decode(self, ids: Iterable[int], *, marks: bool = False, lines: bool = False) -> str:
        """Text of ids. Padding is left out, and so are <start> and <end> unless marks=True."""
        tokens = (self.vocabulary.token(int(index)) for index in ids)
        hidden = (PAD,) if marks else (PAD, START, END)
        return join((token for token in tokens if token not in hidden), lines=lines)
