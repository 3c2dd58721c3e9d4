"""The tokens of the program language, their ids, and text to ids and back.

Eight special tokens, then characters, operators and register names; an index is a token's id.
Numbers and words are spelled by characters.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable

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

_WRITTEN = {NUMBER: "#", SPACE: " ", TAB: "\t"}  # tokens with another text
_READ = {text: token for token, text in _WRITTEN.items()}

# An operator's name is an operator only before a space. No word is followed by one, so the word
# "ADD" can be written into a register like any other word.
_TOKEN = re.compile(
    "|".join(re.escape(token) for token in SPECIALS)
    + rf"|(?<![A-Za-z])(?:{'|'.join(OPERATORS)})(?= |{SPACE})"
    + r"|(?<![A-Za-z])r[0-9]+"
    + r"|\n(?P<newline>)"
    + r"|.",
    re.DOTALL,
)


def register_name(index: int) -> str:
    """r0, r1, …"""
    return f"r{index}"


def split(text: str) -> list[str]:
    """The tokens of a program's text, without line breaks, which are there for people.

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


class Vocabulary:
    """Tokens and their ids; text of programs to ids and back.

    All characters and operators, then registers r0 … r(names - 1): more names keep the ids of all
    earlier tokens.

    >>> vocabulary = Vocabulary(names=4)
    >>> len(vocabulary), vocabulary.id("$"), vocabulary.token(8)
    (84, 7, '0')
    >>> vocabulary.decode(vocabulary.encode("r1 #42$r1\\t#42$"))
    'r1 #42$r1\\t#42$'
    """

    def __init__(self, names: int = 64) -> None:
        checks.integer("names", names, 1)
        registers = (register_name(i) for i in range(names))
        self.tokens = (*SPECIALS, *DIGITS, MINUS, *LETTERS, *OPERATORS, *registers)
        self._ids = {token: index for index, token in enumerate(self.tokens)}

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._ids

    def id(self, token: str) -> int:
        """The token's id; that of <unknown> for an unknown token."""
        return self._ids.get(token, self._ids[UNKNOWN])

    def token(self, index: int) -> str:
        """The token of this id; ValueError for an id out of range."""
        return self.tokens[checks.integer("token id", index, 0, len(self.tokens) - 1)]

    def encode(self, text: str, *, marks: bool = False) -> list[int]:
        """Ids of a program's text; with marks=True between <start> and <end>."""
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, got {type(text).__name__}")
        tokens = [START, *split(text), END] if marks else split(text)
        return [self.id(token) for token in tokens]

    def decode(self, ids: Iterable[int], *, marks: bool = False, lines: bool = False) -> str:
        """Text of ids. Padding is left out, and so are <start> and <end> unless marks=True."""
        tokens = (self.token(int(index)) for index in ids)
        hidden = (PAD,) if marks else (PAD, START, END)
        return join((token for token in tokens if token not in hidden), lines=lines)
