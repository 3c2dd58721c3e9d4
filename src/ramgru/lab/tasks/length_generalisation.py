"""Length generalisation over short alphabets: parity, cycle_navigation, reverse, duplicate,
odds_first, missing_duplicate (Delétang et al., arXiv 2207.02098): train on short strings, test on
long ones."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.base import IGNORE, Batch, Ranged, nothing_asked
from ramgru.lab.tasks.registry import register

EMPTY = 2  # the token of the steps in which the answer over a binary string is given


@dataclass(frozen=True)
class Strings(Ranged):
    """A string of tokens, then empty steps in which the answer is given.

    min_length: the shortest string
    length:     the longest; each example draws its own length uniformly between the two
    """

    # the paper trains to 40 tokens, tests 41 to 500
    sizes: ClassVar[tuple[int, ...]] = (10, 20, 40, 41, 100, 200, 300, 400, 500)
    padding: ClassVar[int] = EMPTY

    min_length: int = 1
    length: int = 40

    @property
    def vocab_size(self) -> int:
        return self.padding + 1

    @property
    def chance(self) -> float:
        return 0.5


@register
@dataclass(frozen=True)
class Parity(Strings):
    """Parity: is the number of ones in a binary string odd? State tracking, not memory.

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), parity check.

    A string of the tokens 0 and 1, then one empty step (token 2) in which the answer is given:

        inputs   1 0 1 1 2
        labels   . . . . 1      (1: an odd number of ones; '.' = nothing asked)

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    name: ClassVar[str] = "parity"

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)  # tokens of each row
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, steps.size))
        inputs = np.where(steps < count, bits, EMPTY)
        odd = np.sum(inputs == 1, axis=1, keepdims=True) % 2
        labels = np.where(steps == count, odd, IGNORE)
        return Batch(inputs, labels, count[:, 0] + 1)


@register
@dataclass(frozen=True)
class CycleNavigation(Strings):
    """Cycle navigation: where on a circle does a walk end? State tracking, not memory.

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), cycle
    navigation.

    A walk from state 0 on a cycle of 5 states, then one empty step (token 5) in which the last
    state is the answer. A move is written as the number that it adds modulo 5: 0 stays, 1 goes one
    state forward, 4 one state back:

        inputs   1 4 0 4 4 5
        labels   . . . . . 3      ('.' = nothing asked)

    min_length: the fewest moves of a walk
    length:     the most; each example draws its own number uniformly between the two

    The moves are equally likely; chance is 1/5.
    """

    name: ClassVar[str] = "cycle_navigation"
    STATES: ClassVar[int] = 5
    padding: ClassVar[int] = STATES

    @property
    def chance(self) -> float:
        return 1 / self.STATES

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)  # moves of each row
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        moves = np.array([0, 1, self.STATES - 1])[rng.integers(0, 3, size=(rows, steps.size))]
        inputs = np.where(steps < count, moves, self.STATES)  # an empty step adds 5, which is 0
        state = np.sum(inputs, axis=1, keepdims=True) % self.STATES
        labels = np.where(steps == count, state, IGNORE)
        return Batch(inputs, labels, count[:, 0] + 1)


@dataclass(frozen=True)
class StringTransformation(Strings):
    """A string of the tokens 0 and 1, then empty steps (token 2), each of which asks for one token
    of the string; a subclass says which one.

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    answer_length: ClassVar[int] = 1  # tokens of the answer for each token of the string

    @abstractmethod
    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        """(B, A) the step of the string that holds the token at `place` (1, A) of the answer, for
        strings of `count` (B, 1) tokens. Places beyond the end of an answer are ignored."""

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)  # tokens of each row
        lengths = (1 + self.answer_length) * count
        steps = np.arange(int(lengths.max()))[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, int(count.max())))
        inputs = np.full((rows, steps.size), EMPTY)
        inputs[steps < count] = bits[steps[:, : bits.shape[1]] < count]

        labels, distance = nothing_asked(inputs.shape)
        row, step = np.nonzero((steps >= count) & (steps < lengths))
        answer = np.arange(self.answer_length * bits.shape[1])[None]
        source = self.sources(answer, count)[row, step - count[row, 0]]
        labels[row, step] = bits[row, source]
        distance[row, step] = step - source
        return Batch(inputs, labels, lengths[:, 0], distance)


@register
@dataclass(frozen=True)
class Reverse(StringTransformation):
    """Reverse: read a binary string, then write it from its end to its beginning, like a stack.

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), reverse string.

    The last token comes first:

        inputs   1 0 1 1 0 2 2 2 2 2
        labels   . . . . . 0 1 1 0 1      ('.' = nothing asked)

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    name: ClassVar[str] = "reverse"

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        return count - 1 - place


@register
@dataclass(frozen=True)
class Duplicate(StringTransformation):
    """Duplicate: read a binary string, then write it twice in a row, like a queue read twice.

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), duplicate
    string.

    n tokens, then 2n empty steps:

        inputs   1 0 0 2 2 2 2 2 2
        labels   . . . 1 0 0 1 0 0      ('.' = nothing asked)

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    name: ClassVar[str] = "duplicate"
    answer_length: ClassVar[int] = 2

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        return place % count


@register
@dataclass(frozen=True)
class OddsFirst(StringTransformation):
    """Odds first: read a binary string, then write its 1st, 3rd, 5th, … tokens, then the others.

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), odds first.

    Places are counted from 1, as in the paper (its code counts from 0, and so writes the even
    places first):

        inputs   0 1 1 1 0 2 2 2 2 2
        labels   . . . . . 0 1 0 1 1      ('.' = nothing asked)

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    name: ClassVar[str] = "odds_first"

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        odds = (count + 1) // 2  # the number of odd places
        return np.where(place < odds, 2 * place, 2 * (place - odds) + 1)


@register
@dataclass(frozen=True)
class MissingDuplicate(Strings):
    """Missing duplicate: a binary string comes twice, with one token hidden. Which one is it?

    Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), missing
    duplicate.

    A string of the tokens 0 and 1, then the same string again; one of all these tokens is hidden
    (token 2). Its twin, half the length away, tells the answer, which is given in one empty step
    (token 4). An odd length is filled up with token 3:

        inputs   1 0 1 1 2 1 3 4
        labels   . . . . . . . 0      ('.' = nothing asked)

    min_length: the fewest tokens of both strings together, filler included
    length:     the most; each example draws its own number uniformly between the two

    Tokens 0 and 1 are equally likely; chance is 1/2.
    """

    name: ClassVar[str] = "missing_duplicate"
    HIDDEN: ClassVar[int] = 2
    FILLER: ClassVar[int] = 3
    padding: ClassVar[int] = 4

    min_length: int = 2

    @property
    def least(self) -> int:
        return 2

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count = self.counts(rng, rows)
        half = count // 2
        hidden = rng.integers(0, 2 * half)  # (B, 1)
        twin = (hidden + half) % (2 * half)
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, int(half.max())))
        inputs = np.take_along_axis(bits, steps % half, axis=1)
        answer = np.take_along_axis(inputs, twin, axis=1)
        inputs[steps == hidden] = self.HIDDEN
        inputs[steps >= 2 * half] = self.FILLER
        inputs[steps >= count] = self.padding
        asked = steps == count
        labels = np.where(asked, answer, IGNORE)
        distance = np.where(asked, count - twin, -1)
        return Batch(inputs, labels, count[:, 0] + 1, distance)
