"""Random programs, statement by statement, with every answer from the interpreter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ramgru.lab.tasks.programs.interpreter import READ, Answer, Interpreter, Value, spell
from ramgru.lab.tasks.programs.language import (
    ARITHMETIC,
    END,
    JOINING,
    LETTERS,
    SPACE,
    START,
    STOP,
    TAB,
    UNARY,
    register_name,
)

_NUMBER, _LENGTH, _ACTION, _FIRST, _SECOND, _OPERATOR, _TARGET, _KEPT = range(8)


@dataclass(frozen=True)
class Style:
    """The distribution of random programs.

    names:   number of register names
    digits:  the most digits of a number that is written or kept
    letters: the most letters of a word that is written; results of up to twice that are kept
    writes:  share of overwrites among the statements that follow the first writes
    reads:   share of read-backs among them; the rest combines registers
    keeps:   share of the results that are written into a register
    """

    names: int
    digits: int
    letters: int
    writes: float
    reads: float
    keeps: float


@dataclass
class Program:
    """A program as tokens, and its answers.

    answers: of each question its answer, the place of its tab, and the place just before the
             oldest value that it needs (a space, or the tab of a kept result)
    """

    tokens: list[str]
    answers: list[tuple[Answer, int, int]] = field(default_factory=list)


def program(rng: np.random.Generator, registers: int, statements: int, style: Style) -> Program:
    """A program that first writes every register once, in random order; the last statement is a
    question."""
    # As lists: their numbers are read one by one, which is slow with arrays.
    uniform = rng.random((statements, 8)).tolist()
    letters = rng.integers(len(LETTERS), size=(statements, style.letters)).tolist()
    names = [register_name(int(i)) for i in rng.permutation(style.names)[:registers]]
    made = Program([START])
    interpreter = Interpreter()
    written_at: dict[str, int] = {}
    for step in range(statements):
        u = uniform[step]
        action = u[_ACTION]
        if step == statements - 1:  # among the questions only, in their own proportions
            action = style.writes + (1 - style.writes) * action
        if step < registers or action < style.writes:
            name = names[step] if step < registers else _pick(names, u[_TARGET])
            statement = [name, SPACE, *spell(_value(u, letters[step], style))]
            written_at[name] = len(made.tokens) + 1
            interpreter.execute(statement)
        else:
            if action < style.writes + style.reads:
                question = [_pick(names, u[_FIRST])]
            else:
                question = _combine(u, names, interpreter)
            answer = _answer(interpreter, question)
            if answer.kind != READ and u[_KEPT] < style.keeps and _fits(answer.value, style):
                question = [_pick(names, u[_TARGET]), SPACE, *question]
                answer = _answer(interpreter, question)
            tab = len(made.tokens) + len(question)
            made.answers.append((answer, tab, min(written_at[name] for name in answer.sources)))
            if answer.target is not None:
                written_at[answer.target] = tab
            statement = [*question, TAB, *spell(answer.value)]
        made.tokens += [*statement, STOP]
    made.tokens.append(END)
    return made


def _pick(names: Sequence[str], u: float) -> str:
    return names[int(u * len(names))]


def _value(u: Sequence[float], letters: Sequence[int], style: Style) -> Value:
    """A number or a word, equally likely; all lengths equally likely."""
    if u[_NUMBER] < 0.5:
        digits = 1 + int(u[_LENGTH] * style.digits)
        low = 10 ** (digits - 1) if digits > 1 else 0
        return low + int(u[_FIRST] * (10**digits - low))
    return "".join(LETTERS[i] for i in letters[: 1 + int(u[_LENGTH] * style.letters)])


def _combine(u: Sequence[float], names: list[str], interpreter: Interpreter) -> list[str]:
    """`OPERATOR a b` over two registers of the same type; a division never by zero."""
    values = interpreter.registers
    first = _pick(names, u[_FIRST])
    kind = type(values[first])
    alike = [name for name in names if type(values[name]) is kind and name != first]
    second = _pick(alike or [first], u[_SECOND])
    if kind is str:
        usable: tuple[str, ...] = (*UNARY, *JOINING)
    else:
        usable = tuple(name for name in ARITHMETIC if name != "DIVIDE" or values[second] != 0)
    operator = _pick(usable, u[_OPERATOR])
    return [operator, SPACE, first, *(() if operator in UNARY else (SPACE, second))]


def _answer(interpreter: Interpreter, question: list[str]) -> Answer:
    answer = interpreter.execute([*question, TAB])
    if answer is None:
        raise AssertionError(f"a statement with a tab has an answer: {question}")
    return answer


def _fits(value: Value, style: Style) -> bool:
    """Whether a result is small enough to be kept, so that values stay bounded."""
    if isinstance(value, int):
        return abs(value) < 10**style.digits
    return len(value) <= 2 * style.letters
