"""programs: random programs over registers, asked for their answers by character."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.programs.generate import Style, program
from ramgru.lab.tasks.programs.interpreter import KINDS, spell
from ramgru.lab.tasks.programs.language import Tokenizer, Vocabulary
from ramgru.lab.tasks.registry import register

REGISTERS = (2, 4, 8, 16, 32, 64)  # the axes of the grid
LONGER = (1, 2, 4, 8)


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

    registers: int = 8
    statements: int = 32
    names: int = 64
    digits: int = 2
    letters: int = 3
    writes: float = 0.3
    reads: float = 0.4
    keeps: float = 0.25

    def __post_init__(self) -> None:
        checks.integer("names", self.names, 1)
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
    def tokenizer(self) -> Tokenizer:
        return Tokenizer(self.vocabulary)

    @property
    def vocab_size(self) -> int:
        return len(self.vocabulary)

    @property
    def chance(self) -> float:
        return _constant_guess(self)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        style = Style(self.names, self.digits, self.letters, self.writes, self.reads, self.keeps)
        programs = [program(rng, self.registers, self.statements, style) for _ in range(rows)]
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
    return Vocabulary.standard(names)


@lru_cache(maxsize=64)
def _constant_guess(task: Programs) -> float:
    labels = task.draw(max(8, 16_384 // task.statements), 0).labels
    counts = np.bincount(labels[labels != IGNORE])
    return float(counts.max() / counts.sum())
