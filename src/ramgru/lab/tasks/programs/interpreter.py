"""The interpreter of programs over named registers, which computes every answer of the task.

The language is described in `ramgru.lab.tasks.programs`; integers are exact and unbounded.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from ramgru.lab.tasks.programs.language import (
    ARITHMETIC,
    DIGITS,
    END,
    JOINING,
    LETTERS,
    MINUS,
    NUMBER,
    OPERATORS,
    PAD,
    SPACE,
    START,
    STOP,
    TAB,
    UNARY,
    join,
    split,
)

Value = int | str

READ, NUMBERS, WORDS = "read", "arithmetic", "text"
LONGEST = 1000  # characters of a value: a short program cannot fill the machine by doubling

KINDS = (READ, NUMBERS, WORDS)
_KIND = {name: NUMBERS if name in ARITHMETIC else WORDS for name in OPERATORS}
_DIGITS, _LETTERS = frozenset(DIGITS), frozenset(LETTERS)


class ProgramError(ValueError):
    """A program that cannot be run; the message names the statement."""


@dataclass(frozen=True)
class Answer:
    """The answer of a statement.

    value:   the number or word
    kind:    "read" (a register read back), "arithmetic" or "text" (an operator's result)
    sources: the registers read
    target:  the register that the result was written into, or None
    """

    value: Value
    kind: str
    sources: tuple[str, ...]
    target: str | None = None


def divide(a: int, b: int) -> int:
    """The quotient rounded toward zero, as in C: 7 / 2 = 3, -7 / 2 = -3."""
    quotient = abs(a) // abs(b)
    return quotient if (a < 0) == (b < 0) else -quotient


_NUMERIC: Mapping[str, Callable[[int, int], int]] = {
    "ADD": lambda a, b: a + b,
    "SUBTRACT": lambda a, b: a - b,
    "MULTIPLY": lambda a, b: a * b,
    "DIVIDE": divide,
    "MAX": max,
    "MIN": min,
}


def spell(value: Value) -> list[str]:
    """The tokens of a number or a word: -17 -> <number> - 1 7, "aB" -> a B."""
    if isinstance(value, int):
        return [NUMBER, *str(value)]
    return list(value)


def is_register(token: str) -> bool:
    """Whether a token names a register: r0, r1, …"""
    return token[:1] == "r" and token[1:].isdigit() and token.isascii()


class Interpreter:
    """Registers, and the statements that write and read them.

    >>> interpreter = Interpreter()
    >>> [answer.value for answer in interpreter.run("r1 #7$r2 #35$ADD r1 r2\\t$r1 ab$r1\\t$")]
    [42, 'ab']
    >>> dict(interpreter.registers)
    {'r1': 'ab', 'r2': 35}
    >>> print(Interpreter().complete("r1 #7$r2 MULTIPLY r1 r1\\t$r2\\t$").expandtabs(1))
    r1 #7$r2 MULTIPLY r1 r1 #49$r2 #49$
    """

    def __init__(self) -> None:
        self._registers: dict[str, Value] = {}
        self._count = 0

    @property
    def registers(self) -> Mapping[str, Value]:
        """The value of each register (a read-only view)."""
        return MappingProxyType(self._registers)

    def run(self, program: str | Sequence[str]) -> list[Answer]:
        """Run a program, given as text or as tokens; returns the answers in order.

        An answer may be missing after its tab; a stated one must be right. <start>, <end> and <pad>
        are ignored. Raises ProgramError.
        """
        answers = (self.execute(statement) for statement in _statements(program))
        return [answer for answer in answers if answer is not None]

    def complete(self, program: str | Sequence[str]) -> str:
        """The program's text with every answer filled in."""
        tokens: list[str] = []
        for statement in _statements(program):
            answer = self.execute(statement)
            if answer is None:
                tokens += statement
            else:
                tokens += [*statement[: statement.index(TAB) + 1], *spell(answer.value)]
            tokens.append(STOP)
        return join(tokens)

    def execute(self, statement: Sequence[str]) -> Answer | None:
        """Run the tokens of one statement, without its `$`; None for a write."""
        self._count += 1
        tokens = list(statement)
        if TAB not in tokens:
            self._write(tokens)
            return None
        tab = tokens.index(TAB)
        answer = self._ask(tokens[:tab], tokens)
        stated = tokens[tab + 1 :]
        if stated and self._value(stated, tokens) != answer.value:
            raise ProgramError(
                f"{self._where(tokens)}: the answer is {join(spell(answer.value))}, "
                f"the program states {join(stated)}"
            )
        if answer.target is not None:
            self._registers[answer.target] = answer.value
        return answer

    def _write(self, tokens: list[str]) -> None:
        if len(tokens) < 3 or not is_register(tokens[0]) or tokens[1] != SPACE:
            raise self._syntax(tokens)
        self._registers[tokens[0]] = self._value(tokens[2:], tokens)

    def _ask(self, question: list[str], tokens: list[str]) -> Answer:
        if len(question) == 1 and is_register(question[0]):
            return Answer(self._read(question[0], tokens), READ, (question[0],))
        target = None
        if len(question) > 2 and is_register(question[0]) and question[1] == SPACE:
            target, question = question[0], question[2:]
        if not question or question[0] not in OPERATORS:
            raise self._syntax(tokens)
        operator, operands = question[0], question[1:]
        expected = 1 if operator in UNARY else 2
        names = tuple(operands[1::2])
        spaced = len(operands) % 2 == 0 and all(token == SPACE for token in operands[::2])
        if not spaced or not all(is_register(name) for name in names):
            raise self._syntax(tokens)
        if len(names) != expected:
            raise ProgramError(
                f"{self._where(tokens)}: {operator} takes {expected} "
                f"register{'s' if expected > 1 else ''}, got {len(names)}"
            )
        values = [self._read(name, tokens) for name in names]
        return Answer(self._apply(operator, names, values, tokens), _KIND[operator], names, target)

    def _apply(
        self, operator: str, names: tuple[str, ...], values: list[Value], tokens: list[str]
    ) -> Value:
        wanted, word = (int, "numbers") if operator in ARITHMETIC else (str, "words")
        for name, value in zip(names, values, strict=True):
            if not isinstance(value, wanted):
                raise ProgramError(
                    f"{self._where(tokens)}: {operator} is over {word}, "
                    f"but {name} holds {join(spell(value))}"
                )
        if operator in JOINING:
            joined = "".join(str(value) for value in values)
            self._bound(len(joined), tokens)
            return joined
        if operator in UNARY:
            text = str(values[0])
            return text.upper() if operator == "UPPERCASE" else text.lower()
        a, b = (int(value) for value in values)
        if operator == "DIVIDE" and b == 0:
            raise ProgramError(f"{self._where(tokens)}: {names[1]} holds 0")
        result = _NUMERIC[operator](a, b)
        self._bound(len(str(abs(result))), tokens)
        return result

    def _read(self, name: str, tokens: list[str]) -> Value:
        if name not in self._registers:
            raise ProgramError(f"{self._where(tokens)}: nothing was written into {name} before")
        return self._registers[name]

    def _value(self, spelled: list[str], tokens: list[str]) -> Value:
        if spelled[0] != NUMBER:
            if not all(token in _LETTERS for token in spelled):
                raise ProgramError(
                    f"{self._where(tokens)}: a word is spelled with letters, got {join(spelled)}"
                )
            self._bound(len(spelled), tokens)
            return "".join(spelled)
        digits = spelled[2:] if spelled[1:2] == [MINUS] else spelled[1:]
        text = "".join(spelled[1:])
        canonical = digits[:1] != ["0"] or text == "0"
        if not digits or not all(token in _DIGITS for token in digits) or not canonical:
            raise ProgramError(
                f"{self._where(tokens)}: a number is # and digits without leading zeros, "
                f"got {join(spelled)}"
            )
        self._bound(len(digits), tokens)
        return int(text)

    def _bound(self, characters: int, tokens: list[str]) -> None:
        if characters > LONGEST:
            raise ProgramError(
                f"{self._where(tokens)}: a value may have {LONGEST} characters, got {characters}"
            )

    def _syntax(self, tokens: list[str]) -> ProgramError:
        return ProgramError(
            f"{self._where(tokens)}: expected a write `r1 #42`, a question `r1<tab>`, or an "
            "operator `ADD r1 r2<tab>`, which may be kept: `r3 ADD r1 r2<tab>`"
        )

    def _where(self, tokens: list[str]) -> str:
        return f"statement {self._count}, `{_shown(tokens)}`"


def _statements(program: str | Sequence[str]) -> list[list[str]]:
    tokens = split(program) if isinstance(program, str) else list(program)
    statements: list[list[str]] = [[]]
    for token in tokens:
        if token == STOP:
            statements.append([])
        elif token not in (START, END, PAD):
            statements[-1].append(token)
    rest = statements.pop()
    if rest:
        raise ProgramError(f"the last statement, `{_shown(rest)}`, must end with {STOP}")
    return statements


def _shown(tokens: Sequence[str]) -> str:
    text = join(tokens).replace("\t", TAB)
    return text if len(text) <= 80 else f"{text[:77]}..."
