"""fuzzy_recall: in-context recall with keys and values of several tokens (arXiv 2403.17844)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import permutations
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Sized, Task
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.sampling import previous


@register
@dataclass(frozen=True)
class FuzzyRecall(Sized):
    """Fuzzy recall: keys and values of one to three tokens come again; asked are known values.

    Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
    fuzzy in-context recall with many queries; the same bits as athms/mad-lab.

    Keys are made of the tokens in [0, H), values of those in [H, V - 1), H = (V - 1) / 2; no token
    comes twice in one key or value. A key keeps its first value. Padding (V - 1) comes first. The
    last pair repeats an earlier one. V = 10, keys and values of up to two tokens, length 15:

        inputs   9 9 9 9 2 6 5 0 3 8 2 6 5 0 3
        labels   . . . . . . . . . . 6 5 . . 8
                         k v v k k v k v v k k      ('.' = nothing asked)

    Each token of the value of a key seen before is asked for one step before it is shown.

    vocab_size:  V
    min_key:     the fewest tokens in a key; MAD trains on one to three, and tests on three
    key:         the most; each key is of any of these sizes with the same probability
    value:       the most tokens in a value; 1 is the fewest
    length:      L steps
    every_token: ask for the next token at every step, as MAD does in training. Most tokens cannot
                 be predicted, so scores are always those of the questions above (`held_out`,
                 `grid`)
    exact:       the very bits of MAD's generator, row by row in Python, for min_key 1 (training) or
                 `key` (test). Now and then its last question is about a key that never came; the
                 default draws from the same distribution without these rows, all rows at once.

    Scores count tokens, where MAD averages the accuracies of the tokens of the vocabulary. Chance
    among all tokens of values is 1/(V - 1 - H). `held_out` and `grid` have keys of the most tokens,
    as MAD's tests. `distance` counts from the last time at which the token was shown.
    """

    name: ClassVar[str] = "fuzzy_recall"
    metric: ClassVar[str] = "recall"
    easiest: ClassVar[int] = 32
    sizes: ClassVar[tuple[int, ...]] = (32, 64, 128, 256, 512, 1024, 4096)
    smallest: ClassVar[dict[str, int]] = {"vocab_size": 3, "key": 1, "value": 1, "length": 5}

    vocab_size: int = 16
    min_key: int = 1
    key: int = 3
    value: int = 3
    length: int = 128
    every_token: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("min_key", self.min_key, 1, self.key)
        checks.integer("key", self.key, 1, self.key_tokens)
        checks.integer("value", self.value, 1, self.value_tokens)
        if self.vocab_size**self.key > 2**62:
            raise ValueError(
                f"vocab_size ** key must be at most 2**62, got {self.vocab_size} ** {self.key}"
            )
        if self.length < self.least:
            raise ValueError(
                f"length must be at least {self.least} for key={self.key} and "
                f"value={self.value}, got {self.length}"
            )

    @property
    def least(self) -> int:
        return 2 * (self.key + self.value) + 1

    @property
    def key_tokens(self) -> int:
        return (self.vocab_size - 1) // 2

    @property
    def value_tokens(self) -> int:
        return self.vocab_size - 1 - self.key_tokens

    @property
    def chance(self) -> float:
        return 1 / self.value_tokens

    def held_out(self) -> Task:
        """The questions that have an answer, with keys of the most tokens."""
        return self.resized(min_key=self.key, every_token=False)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        return self._batch(*(self._rows_of_mad if self.exact else self._rows)(rng, rows))

    def _batch(self, key: np.ndarray, value: np.ndarray, count: np.ndarray) -> Batch:
        """The batch of P pairs a row: key (B, P, key) and value (B, P, value) tokens, -1 where
        unused, and the number of pairs of each row, count (B,)."""
        tokens = np.concatenate([key, value], axis=2)
        pair = np.arange(key.shape[1])
        tokens[pair >= count[:, None]] = -1
        used = tokens >= 0
        shown = np.arange(self.length + 1) >= self.length + 1 - used.sum(axis=(1, 2))[:, None]
        before = previous(np.where(pair < count[:, None], self._number(key), -1 - pair))

        def in_order(each: np.ndarray, empty: int) -> np.ndarray:
            """(B, L + 1): a number of each token, after the padding."""
            steps = np.full(shown.shape, empty, dtype=np.int64)
            steps[shown] = each[used]
            return steps

        place = np.full(tokens.shape, -1)
        place[used] = np.nonzero(shown)[1]
        same = np.take_along_axis(place, before.clip(0)[..., None], axis=1)
        asked = (before >= 0) | (pair == count[:, None] - 1)
        asked = asked[..., None] & (np.arange(tokens.shape[2]) >= self.key)
        away = np.where((before >= 0)[..., None], place - 1 - same, 0)
        sequence = in_order(tokens, self.vocab_size - 1)
        inputs, lengths = sequence[:, :-1].copy(), np.full(len(key), self.length, dtype=np.int64)
        if self.every_token:
            return Batch(inputs, sequence[:, 1:].copy(), lengths)
        labels = in_order(np.where(asked, tokens, IGNORE), IGNORE)[:, 1:].copy()
        return Batch(inputs, labels, lengths, in_order(np.where(asked, away, -1), -1)[:, 1:].copy())

    def _number(self, key: np.ndarray) -> np.ndarray:
        """One number for each key of (…, key) tokens."""
        return ((key + 1) * self.vocab_size ** np.arange(self.key)).sum(axis=-1)

    def _rows(
        self, rng: np.random.Generator, rows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """-> the arguments of `_batch`, for all rows at once."""
        shape = (rows, self.length // (self.min_key + 1) + 3)
        key = _motifs(rng, shape, self.min_key, self.key, 0, self.key_tokens)
        value = _motifs(rng, shape, 1, self.value, self.key_tokens, self.value_tokens)
        # Pair 0 is the last question's; it is not shown in its place.
        size = (key[:, :1] >= 0).sum(axis=2) + (value[:, :1] >= 0).sum(axis=2)  # (B, 1)
        end = self.length - size - self.key - self.value  # no other pair starts here or later
        latest = rng.integers(self.length - 2 * size)  # here it is shown, unless it was before

        held, start = self._laid_out(key, value)
        came = np.cumsum(self._number(key) == self._number(key[:, :1]), axis=1) - 1  # pair 0
        here = (start >= latest) & (start < end) & (np.roll(came, 1, axis=1) == 0)
        here[:, 0] = False
        row = np.flatnonzero(here.any(axis=1))
        key[row, here[row].argmax(axis=1)] = key[row, 0]
        held, start = self._laid_out(key, value)
        count = (start[:, 1:] < end).sum(axis=1)
        key[np.arange(rows), count + 1] = key[:, 0]
        held[np.arange(rows), count + 1] = held[:, 0]

        shown = self._number(key[:, 1:]) == self._number(key[:, :1])
        absent = np.flatnonzero(shown.argmax(axis=1) == count)
        found = key[:, 1:], held[:, 1:], count + 1
        if absent.size:  # the last question is about a key that never came: drawn again
            for drawn, again in zip(found, self._rows(rng, absent.size)):
                drawn[absent] = again
        return found

    def _laid_out(self, key: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """-> the value (B, P, value) of each pair, which is that of the first pair with its key,
        and its first step (B, P), counted from the end of pair 0."""
        held = np.take_along_axis(value, _first(self._number(key))[..., None], axis=1)
        sizes = (key >= 0).sum(axis=2) + (held >= 0).sum(axis=2)
        return held, np.cumsum(sizes, axis=1) - sizes - sizes[:, :1]

    def _rows_of_mad(
        self, rng: np.random.Generator, rows: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """-> the arguments of `_batch`, by the calls of MAD's generator in their order."""
        drawn = [self._row_of_mad(rng) for _ in range(rows)]
        most = max(map(len, drawn))
        key = np.full((rows, most, self.key), -1)
        value = np.full((rows, most, self.value), -1)
        for row, pairs in enumerate(drawn):
            for n, (k, v) in enumerate(pairs):
                key[row, n, : len(k)], value[row, n, : len(v)] = k, v
        return key, value, np.array([len(pairs) for pairs in drawn])

    def _row_of_mad(self, rng: np.random.Generator) -> list[tuple[tuple[int, ...], ...]]:
        """The pairs of one row, as (key, value)."""
        keys = {n: _shuffled(rng, 0, self.key_tokens, n) for n in self._key_sizes}
        values = {
            n: _shuffled(rng, self.key_tokens, self.value_tokens, n)
            for n in range(1, self.value + 1)
        }

        def sizes() -> tuple[int, int]:
            few = self._key_sizes
            key = few[rng.integers(len(few))] if len(few) > 1 else self.key
            return key, 1 + int(rng.integers(self.value))

        def one(table: np.ndarray) -> tuple[int, ...]:
            return tuple(table[rng.integers(len(table))].tolist())

        key_size, value_size = sizes()
        probe = one(keys[key_size]), one(values[value_size])
        size = key_size + value_size
        latest = rng.integers(self.length - 2 * size)
        known = dict([probe])
        pairs: list[tuple[tuple[int, ...], ...]] = []
        steps, shown = 0, False
        while steps < self.length - size - self.key - self.value:
            key_size, value_size = sizes()
            if steps >= latest and not shown:
                key = probe[0]
            else:
                key = one(keys[key_size])
                if key not in known:
                    known[key] = one(values[value_size])
            shown |= key == probe[0]
            pairs.append((key, known[key]))
            steps += len(key) + len(known[key])
        return [*pairs, probe]

    @property
    def _key_sizes(self) -> range:
        return range(self.min_key, self.key + 1)


def _motifs(
    rng: np.random.Generator, shape: tuple[int, int], least: int, most: int, first: int, tokens: int
) -> np.ndarray:
    """(*shape, most): `least` to `most` different tokens from `first` on, then -1."""
    drawn = first + sampling.distinct(rng, shape[0] * shape[1], most, tokens).reshape(*shape, most)
    size = rng.integers(least, most + 1, size=(*shape, 1))
    return np.where(np.arange(most) < size, drawn, -1)


def _first(numbers: np.ndarray) -> np.ndarray:
    """(B, P) int64: for each number of (B, P) the first place with the same number.

    >>> _first(np.array([[5, 3, 5, 5]]))
    array([[0, 1, 0, 0]])
    """
    order = np.argsort(numbers, axis=1, kind="stable")  # equal numbers side by side, early first
    ranked = np.take_along_axis(numbers, order, axis=1)
    rank = np.arange(1, numbers.shape[1])
    begins = np.zeros_like(order)  # of its group in `order`
    begins[:, 1:] = np.where(ranked[:, 1:] != ranked[:, :-1], rank, 0)
    begins = np.maximum.accumulate(begins, axis=1)
    found = np.empty_like(order)
    np.put_along_axis(found, order, np.take_along_axis(order, begins, axis=1), axis=1)
    return found


@lru_cache(maxsize=16)
def _permutations(first: int, tokens: int, size: int) -> np.ndarray:
    """(n, size) all ordered samples of `size` different tokens from `first` on."""
    return np.array(list(permutations(range(first, first + tokens), size)))


def _shuffled(rng: np.random.Generator, first: int, tokens: int, size: int) -> np.ndarray:
    """The same in random order, as MAD shuffles them for each row."""
    table = _permutations(first, tokens, size)
    order = np.arange(len(table))
    rng.shuffle(order)
    return table[order]
