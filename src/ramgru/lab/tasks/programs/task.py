"""programs: random programs over registers, asked for their answers by character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.programs.interpreter import KINDS, READ, Answer, Interpreter, Value, spell
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
    Vocabulary,
    register_name,
)
from ramgru.lab.tasks.registry import register

REGISTERS = (2, 4, 8, 16, 32, 64)  # the axes of the grid
LONGER = (1, 2, 4, 8)
# columns of the uniform numbers that decide a statement
_NUMBER, _LENGTH, _ACTION, _FIRST, _SECOND, _OPERATOR, _TARGET, _KEPT = range(8)


@register
@dataclass(frozen=True)
class Programs(Task):
    """Programs: run a program over registers and answer its questions character by character.

    Ours; the language is described in `ramgru.lab.tasks.programs`.

    A program with its answers in it, token by token. In ASCII (`>` is the tab, `_` the space):

        inputs   r1 _ # 4 $ r3 _ # 1 2 $ ADD _ r1 _ r3 > # 1 6 $ r3 > # 1 2 $
        labels   .  . . . . .  . . . . . .   . .  . .  # 1 6 $ . .  # 1 2 $ .

    ('.' = nothing asked.) The label is the next token if that belongs to an answer: the characters
    after the tab and the `$` that ends it (teacher forcing). Answers need memory alone (the kind
    "read") or memory and a result (the kinds "arithmetic" and "text"). The distance is counted from
    the tab to the place before the oldest value that the answer needs.

    registers:  registers that a program uses, each written once at its start
    statements: statements of a program, at least registers + 1
    names:      register names in the vocabulary; each program draws its own among them
    digits:     the most digits of a number that is written (results may have more)
    letters:    the most letters of a word that is written
    writes:     share of overwrites among the statements after the first writes
    reads:      share of read-backs among them; the rest combines registers
    keeps:      share of results that are written into a register

    The metric counts tokens; `ramgru.lab.tasks.exact_answers` counts whole answers. Chance is the
    best constant guess (`$`, the end of an answer), measured on programs of the same sizes.
    """

    name: ClassVar[str] = "programs"
    kinds: ClassVar[tuple[str, ...]] = KINDS
    smallest: ClassVar[dict[str, int]] = {"names": 1}

    registers: int = 8
    statements: int = 32
    names: int = 64
    digits: int = 2
    letters: int = 3
    writes: float = 0.3
    reads: float = 0.4
    keeps: float = 0.25

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("registers", self.registers, 1, self.names)
        checks.integer("statements", self.statements, self.registers + 1)
        checks.integer("digits", self.digits, 1, 15)
        checks.integer("letters", self.letters, 1, 100)
        checks.share("writes", self.writes, whole=False)  # or nothing would be asked
        checks.share("reads", self.reads)
        checks.share("keeps", self.keeps)
        if self.writes + self.reads > 1:
            raise ValueError(f"writes + reads must be at most 1, got {self.writes} + {self.reads}")

    @property
    def vocabulary(self) -> Vocabulary:
        return _vocabulary(self.names)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @property
    def chance(self) -> float:
        return _constant_guess(self)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        programs = [program(self, rng) for _ in range(rows)]
        lengths = np.array([len(made.tokens) for made in programs], dtype=np.int64)
        inputs = np.zeros((rows, int(lengths.max())), dtype=np.int64)  # 0 is <pad>
        labels = np.full(inputs.shape, IGNORE, dtype=np.int64)
        distance = np.full(inputs.shape, -1, dtype=np.int64)
        kind = np.full(inputs.shape, -1, dtype=np.int64)
        ids = self.vocabulary.id
        for row, made in enumerate(programs):
            inputs[row, : len(made.tokens)] = [ids(token) for token in made.tokens]
            for answer, tab, written in made.answers:
                end = tab + len(spell(answer.value)) + 1  # with the `$`
                asked = slice(tab, end)
                labels[row, asked] = inputs[row, tab + 1 : end + 1]
                distance[row, asked] = tab - written
                kind[row, asked] = KINDS.index(answer.kind)
        return Batch(inputs, labels, lengths, distance, kind)

    def curriculum(self) -> Sequence[Task]:
        """2, 4, 8, … registers with as many statements a register, up to this task itself."""
        smaller = (self._sized(count) for count in REGISTERS if count < self.registers)
        return (*smaller, self)

    def grid(self) -> Sequence[Slice]:
        """To 64 registers at the same statements a register, and to 8 times the statements."""
        tasks = {self._sized(count) for count in REGISTERS if count <= self.names}
        tasks |= {self.resized(statements=self.statements * times) for times in LONGER}
        return tuple(
            Slice({"registers": task.registers, "statements": task.statements}, task)
            for task in sorted(tasks, key=lambda task: (task.registers, task.statements))
        )

    def _sized(self, registers: int) -> Programs:
        statements = max(registers + 1, self.statements * registers // self.registers)
        return self.resized(registers=registers, statements=statements)


@lru_cache(maxsize=16)
def _vocabulary(names: int) -> Vocabulary:
    return Vocabulary(names)


@lru_cache(maxsize=64)
def _constant_guess(task: Programs) -> float:
    labels = task.draw(max(8, 16_384 // task.statements), 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    return float(counts.max() / counts.sum())


@dataclass
class Program:
    """A program as tokens, and its answers.

    answers: of each question its answer, the place of its tab, and the place just before the
             oldest value that it needs (a space, or the tab of a kept result)
    """

    tokens: list[str]
    answers: list[tuple[Answer, int, int]] = field(default_factory=list)


def program(task: Programs, rng: np.random.Generator) -> Program:
    """A program that first writes every register once, in random order; the last statement is a
    question."""
    # As lists: their numbers are read one by one, which is slow with arrays.
    uniform = rng.random((task.statements, 8)).tolist()
    letters = rng.integers(len(LETTERS), size=(task.statements, task.letters)).tolist()
    names = [register_name(int(i)) for i in rng.permutation(task.names)[: task.registers]]
    made = Program([START])
    interpreter = Interpreter()
    written_at: dict[str, int] = {}
    for step in range(task.statements):
        u = uniform[step]
        action = u[_ACTION]
        if step == task.statements - 1:  # among the questions only, in their own proportions
            action = task.writes + (1 - task.writes) * action
        if step < task.registers or action < task.writes:
            name = names[step] if step < task.registers else _pick(names, u[_TARGET])
            statement = [name, SPACE, *spell(_value(u, letters[step], task))]
            written_at[name] = len(made.tokens) + 1
            interpreter.execute(statement)
        else:
            if action < task.writes + task.reads:
                question = [_pick(names, u[_FIRST])]
            else:
                question = _combine(u, names, interpreter)
            answer = _answer(interpreter, question)
            if answer.kind != READ and u[_KEPT] < task.keeps and _fits(answer.value, task):
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


def _value(u: Sequence[float], letters: Sequence[int], task: Programs) -> Value:
    """A number or a word, equally likely; all lengths equally likely."""
    if u[_NUMBER] < 0.5:
        digits = 1 + int(u[_LENGTH] * task.digits)
        low = 10 ** (digits - 1) if digits > 1 else 0
        return low + int(u[_FIRST] * (10**digits - low))
    return "".join(LETTERS[i] for i in letters[: 1 + int(u[_LENGTH] * task.letters)])


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


def _fits(value: Value, task: Programs) -> bool:
    """Whether a result is small enough to be kept, so that values stay bounded."""
    if isinstance(value, int):
        return abs(value) < 10**task.digits
    return len(value) <= 2 * task.letters
