"""mqar_compositional: associative recall with phrases of tokens as keys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Slice, Task, check_range, doublings
from ramgru.lab.tasks.mqar import MQAR, layout, power_law
from ramgru.lab.tasks.registry import register

FEWEST = 4  # pairs: among fewer different phrases, one always has a token to itself
LONGEST = 8  # tokens of a key
LARGER = (1, 4, 16, 64)  # pairs and length of the grid, as multiples of those of training


@register
@dataclass(frozen=True)
class MQARCompositional(Task):
    """Associative recall with phrases as keys: no single token tells which pair is meant.

    `mqar` (Arora, Eyuboglu et al., arXiv 2312.04927) with keys of several tokens; ours.

    Keys are phrases of tokens in [1, alphabet], values single tokens above, 0 is blank. V = 20,
    alphabet 9, key 2, pairs 4, length 24:

        inputs   7 3 15 3 7 12 7 7 19 3 3 10 3 7 0  7 7 0  3 3 0  7 3 0
        labels   . . .  . . .  . . .  . . .  . 12 . . 19 . . 10 . . 15 .
                 k k v  k k v  k k v  k k v  k k    k k    k k    k k     ('.' = nothing asked)

    The answer is asked for at the last token of a key. A question takes as many steps as a pair,
    with a blank in place of the value; questions are placed as in `mqar`, in units of so many
    steps. The phrases of a row are different, and made of the fewest symbols that can make so many;
    these symbols are drawn for each row. Each token of a phrase also stands at the same place of
    another phrase.

    vocab_size: V; values are tokens in (alphabet, V)
    alphabet:   number of symbols that keys are made of
    min_key:    the fewest tokens of a key
    key:        the most; each row draws one number for all its keys uniformly between the two
    pairs:      key-value pairs, each asked for once
    length:     T, at least 2 * pairs * (key + 1)

    Chance among all values is 1/(V - alphabet - 1). A memory that knows which values occurred
    reaches the plateau 1/pairs; a memory that uses only the last token of a key about
    pairs^(1/key) / pairs.
    """

    name: ClassVar[str] = "mqar_compositional"
    metric: ClassVar[str] = "recall"
    smallest: ClassVar[dict[str, int]] = {"pairs": FEWEST, "alphabet": 2, "length": 1}

    vocab_size: int = 8192
    alphabet: int = 64
    min_key: int = 2
    key: int = 4
    pairs: int = 16
    length: int = 160

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range(self, "key", 2)
        checks.integer("key", self.key, 2, LONGEST)
        if (self.pairs, self.min_key) == (5, 2):
            raise ValueError("pairs must not be 5 at min_key=2: no 5 phrases of 2 share all tokens")
        checks.integer("vocab_size", self.vocab_size, self.alphabet + 2)
        if self.length < (needed := self._length_of(self.pairs, self.key)):
            raise ValueError(
                f"length must be at least {needed} for pairs={self.pairs} and key={self.key}, "
                f"got {self.length}"
            )
        if self.pairs > self.known(self.min_key):
            raise ValueError(
                f"pairs must be at most {self.known(self.min_key)} at vocab_size="
                f"{self.vocab_size}, alphabet={self.alphabet} and min_key={self.min_key}, "
                f"got {self.pairs}"
            )

    def known(self, key: int) -> int:
        """The largest number of different pairs: no more than phrases, and than values."""
        return int(min(self.alphabet**key, self.vocab_size - self.alphabet - 1))

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - self.alphabet - 1)

    @property
    def plateau(self) -> float:
        return 1 / self.pairs

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        sizes = rng.integers(self.min_key, self.key + 1, size=rows)
        shape, names = (rows, self.length), ("inputs", "labels", "distance")
        arrays = {name: np.empty(shape, dtype=np.int64) for name in names}
        for size in np.unique(sizes).tolist():
            which = np.flatnonzero(sizes == size)
            part = self._draw_keys_of(size, which.size, rng)
            for name, array in arrays.items():
                array[which] = getattr(part, name)
        return Batch(lengths=np.full(rows, self.length, dtype=np.int64), **arrays)

    def _draw_keys_of(self, size: int, rows: int, rng: np.random.Generator) -> Batch:
        """Rows with keys of `size` tokens."""
        keys = 1 + phrases(rng, rows, self.pairs, size, self.alphabet)
        first = self.alphabet + 1
        values = first + sampling.distinct(rng, rows, self.pairs, self.vocab_size - first)
        spaces = self.length // (size + 1) - self.pairs
        gaps = sampling.weighted(rng, rows, self.pairs, power_law(spaces, MQAR.power))
        slots = np.broadcast_to(np.arange(self.pairs), values.shape)
        return layout(keys, values, keys, slots, gaps, self.length)

    def curriculum(self) -> Sequence[Task]:
        """4, 8, … pairs at the same density of questions, up to this task itself."""
        sizes = ((n, self._length_of(n, self.key)) for n in doublings(FEWEST, self.pairs))
        return (*(self.resized(pairs=pairs, length=length) for pairs, length in sizes), self)

    def grid(self) -> Sequence[Slice]:
        """Keys of each number of tokens; pairs and length up to 64 times those of training, limited
        by the number of different pairs."""
        return tuple(
            self.resized(min_key=key).at(key=key, pairs=pairs, length=self._length_of(pairs, key))
            for key in range(self.min_key, self.key + 1)
            for pairs in (self.pairs * times for times in LARGER)
            if pairs <= self.known(key)
        )

    def _length_of(self, pairs: int, key: int) -> int:
        """The length for so many pairs at the same density of questions, or the shortest one."""
        return max(2 * pairs * (key + 1), self.length * pairs // self.pairs)


def phrases(
    rng: np.random.Generator, rows: int, count: int, size: int, alphabet: int
) -> np.ndarray:
    """(rows, count, size) int64 in [0, alphabet): in each row `count` different phrases of
    `size` symbols; each symbol also stands at the same place of another phrase.

    Rows without the second property are drawn again: uniform over the rows that have it. With the
    fewest symbols that can make `count` phrases most rows have it, and the loop always ends: count
    is at least 4, and not 5 for phrases of 2.
    """
    few = next(n for n in range(2, alphabet + 1) if n**size >= count)
    spelled = np.empty((rows, count, size), dtype=np.int64)
    left = np.arange(rows)
    while left.size:
        codes = sampling.distinct(rng, left.size, count, few**size)
        drawn = codes[..., None] // few ** np.arange(size) % few
        spelled[left] = drawn
        cells = drawn + few * np.arange(size) + few * size * np.arange(left.size)[:, None, None]
        used = np.bincount(cells.ravel(), minlength=left.size * size * few)
        left = left[(used.reshape(left.size, -1) == 1).any(axis=1)]
    symbols = sampling.distinct(rng, rows, few, alphabet)
    return symbols[np.arange(rows)[:, None, None], spelled]
