"""MAD's tasks (arXiv 2403.17844): in_context_recall, noisy_recall, selective_copy, compression.

The paper trains and tests on 128 to 1,024 tokens, for compression on 32 to 256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Sized, Task, among_held, doublings, nothing_asked
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.sampling import previous


@register
@dataclass(frozen=True)
class InContextRecall(Sized):
    """In-context recall: pairs come again and again; asked is the value of each key seen before.

    Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
    in-context recall with many queries; the same bits as the test split of athms/mad-lab.

    Keys are tokens in [0, V/2), values in [V/2, V). Every step belongs to a pair; a key keeps the
    value of its first pair, and the last pair repeats an earlier one. V = 8, length 12:

        inputs   2 5 0 7 2 5 1 5 0 7 2
        labels   . . . . 5 . . . 7 . 5
                 k v k v k v k v k v k      ('.' = nothing asked)

    The answer to a key is asked for at the step of the key, and then shown.

    vocab_size:  V
    length:      L, even: L/2 pairs; the last value is not shown, so there are L - 1 steps
    every_token: ask for the next token at every step, as MAD does in training. Most keys cannot be
                 predicted, so scores are always those of the questions above (`held_out`, `grid`)
    exact:       the very bits of MAD's generator, row by row in Python (its data set has seed
                 12345, the rows for training first). The default draws from the same distribution,
                 all rows at once.

    Chance among all values is 2/V. A memory that knows the values of all keys, but not which value
    belongs to which key, guesses one of them: 23 % at V = 16. `distance` counts from the last time
    at which the value was shown.
    """

    name: ClassVar[str] = "in_context_recall"
    metric: ClassVar[str] = "recall"
    easiest: ClassVar[int] = 16
    sizes: ClassVar[tuple[int, ...]] = (32, 64, 128, 256, 512, 1024, 4096)

    vocab_size: int = 16
    length: int = 128
    every_token: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        checks.integer("vocab_size", self.vocab_size, self.noise_tokens + 4)
        checks.integer("length", self.length, 4)
        if self.length % 2:
            raise ValueError(f"length must be even, got {self.length}")

    @property
    def noise_tokens(self) -> int:
        """Number of tokens, the last of the vocabulary, that are neither keys nor values."""
        return 0

    @property
    def noise_share(self) -> float:
        """The probability that two noise tokens take the place of a pair."""
        return 0.0

    @property
    def keys(self) -> int:
        return (self.vocab_size - self.noise_tokens) // 2

    @property
    def values(self) -> int:
        return self.vocab_size - self.noise_tokens - self.keys

    @property
    def chance(self) -> float:
        return 1 / self.values

    @property
    def plateau(self) -> float | None:
        return among_held(min(self.keys, self.length // 2 - 1), self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        if self.exact:
            tokens = np.array([self._row_of_mad(rng) for _ in range(rows)], dtype=np.int64)
        else:
            tokens = self._rows(rng, rows)
        inputs = tokens[:, :-1].copy()
        lengths = np.full(rows, self.length - 1, dtype=np.int64)
        if self.every_token:
            return Batch(inputs, tokens[:, 1:].copy(), lengths)

        labels, distance = nothing_asked(inputs.shape)
        # Noise counts as a different number at each place, so noise was never seen before.
        own = self.vocab_size + np.arange(self.length // 2)
        before = previous(np.where(tokens[:, ::2] < self.keys, tokens[:, ::2], own))
        asked = before >= 0
        labels[:, ::2][asked] = tokens[:, 1::2][asked]
        distance[:, ::2] = np.where(asked, 2 * (np.arange(before.shape[1]) - before) - 1, -1)
        return Batch(inputs, labels, lengths, distance)

    def _rows(self, rng: np.random.Generator, rows: int) -> np.ndarray:
        """(B, L) the tokens of all rows, the last value included."""
        slots, first_noise = self.length // 2 - 1, self.keys + self.values
        tokens = np.empty((rows, slots + 1, 2), dtype=np.int64)
        keys = rng.integers(self.keys, size=(rows, slots))
        table = self.keys + rng.integers(self.values, size=(rows, self.keys))
        tokens[:, :-1, 0] = keys
        tokens[:, :-1, 1] = np.take_along_axis(table, keys, axis=1)
        noisy = self._noisy(rng, rows)
        if noisy is not None:
            tokens[:, :-1][noisy] = rng.integers(
                first_noise, self.vocab_size, size=(int(noisy.sum()), 2)
            )
            keys = np.where(noisy, self.keys + np.arange(slots), keys)
        # The last pair is one of the pairs shown, each equally likely.
        lot = rng.random((rows, slots))
        lot[(previous(keys) >= 0) | (keys >= self.keys)] = -1
        tokens[:, -1] = tokens[np.arange(rows), lot.argmax(axis=1)]
        return tokens.reshape(rows, self.length)

    def _noisy(self, rng: np.random.Generator, rows: int) -> np.ndarray | None:
        """(B, pairs - 1) bool: True where noise takes the place of a pair; None for no noise."""
        if not self.noise_share:
            return None
        slots = self.length // 2 - 1
        noisy = np.ones((rows, slots), dtype=bool)
        while (left := np.flatnonzero(noisy.all(axis=1))).size:  # a row without a pair is redrawn
            always = rng.integers(slots + 1, size=(left.size, 1))  # a pair, if not the last slot
            drawn = rng.random((left.size, slots)) < self.noise_share
            noisy[left] = drawn & (np.arange(slots) != always)
        return noisy

    def _row_of_mad(self, rng: np.random.Generator) -> list[int]:
        """(L,) one row by the same calls, in the same order, as MAD's generator."""
        first_noise = self.keys + self.values
        row: list[int] = []
        shown: dict[int, int] = {}  # key to value, in the order of their first places
        while not shown:  # MAD's generator fails for a row without a pair; here it is drawn again
            row.clear()
            always = rng.integers(self.length // 2)
            for slot in range(self.length // 2 - 1):
                if self.noise_share and slot != always and rng.random() < self.noise_share:
                    row += (first_noise + rng.integers(self.noise_tokens, size=2)).tolist()
                    continue
                key = int(rng.integers(self.keys))
                if key not in shown:
                    shown[key] = self.keys + int(rng.integers(self.values))
                row += [key, shown[key]]
        last = list(shown)[rng.integers(len(shown))]
        return [*row, last, shown[last]]

    def held_out(self) -> Task:
        """The questions that have an answer."""
        return self.resized(every_token=False)


@register
@dataclass(frozen=True)
class NoisyRecall(InContextRecall):
    """Noisy recall: in-context recall in which noise takes the place of some pairs.

    Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
    noisy in-context recall; the same bits as the test split of athms/mad-lab.

    As `in_context_recall`, with keys in [0, H/2) and values in [H/2, H), H = V - noise; the rest of
    the vocabulary is noise. Each pair is replaced by two noise tokens with probability `fraction`;
    at least one pair and the last one remain. V = 12, noise 4, length 14:

        inputs   2 5 0 7 9 11 2 5 8 8 0 7 2
        labels   . . . . . .  5 . . . 7 . 5
                 k v k v n n  k v n n k v k      ('.' = nothing asked)

    vocab_size:  V, noise included
    length:      L, even: L/2 pairs, some of them noise; L - 1 steps
    every_token: ask for the next token at every step, as MAD does in training
    exact:       the very bits of MAD's generator, row by row in Python
    noise:       number of noise tokens
    fraction:    the probability of noise, below 1

    Chance among all values is 2/(V - noise). A memory that knows the values of all keys, but not
    which value belongs to which key, guesses one of them.
    """

    name: ClassVar[str] = "noisy_recall"

    vocab_size: int = 32
    noise: int = 16
    fraction: float = 0.2

    def __post_init__(self) -> None:
        checks.integer("noise", self.noise, 1)
        checks.share("fraction", self.fraction, whole=False)
        super().__post_init__()

    @property
    def noise_tokens(self) -> int:
        return self.noise

    @property
    def noise_share(self) -> float:
        return self.fraction


@register
@dataclass(frozen=True)
class SelectiveCopy(Sized):
    """Selective copy: pick the tokens out of a long stretch of blanks, then write them in order.

    Poli et al. (MAD, arXiv 2403.17844) and Gu and Dao (Mamba, arXiv 2312.00752), §4.1.1; the places
    of the tokens are drawn as in state-spaces/s4, every set of places equally likely.

    Tokens among blanks, then a marker, then as many blanks as there were tokens, in which the
    tokens are the answer. Tokens are in [0, V - 2), a blank is V - 2, the marker V - 1.
    V = 8, three tokens, length 12:

        inputs   6 2 6 6 5 0 6 6 7 6 6 6
        labels   . . . . . . . . . 2 5 0      ('.' = nothing asked)

    vocab_size: V
    tokens:     n, the number of tokens to copy
    length:     T, at least 2n + 1

    Chance is 1/(V - 2). A memory that knows the tokens but not their order guesses one of them.
    """

    name: ClassVar[str] = "selective_copy"
    # the paper's 256 to 1,024; Mamba's 4,096
    sizes: ClassVar[tuple[int, ...]] = (64, 128, 256, 512, 1024, 2048, 4096)
    smallest: ClassVar[dict[str, int]] = {"vocab_size": 4, "tokens": 1, "length": 3}

    vocab_size: int = 16
    tokens: int = 16
    length: int = 256

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.least:
            raise ValueError(
                f"length must be at least {self.least} for tokens={self.tokens}, got {self.length}"
            )

    @property
    def least(self) -> int:
        return 2 * self.tokens + 1

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - 2)

    @property
    def plateau(self) -> float | None:
        return among_held(self.tokens, self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count, blank = self.tokens, self.vocab_size - 2
        shown = self.length - count - 1  # steps before the marker
        tokens = rng.integers(blank, size=(rows, count))
        places = np.sort(sampling.distinct(rng, rows, count, shown), axis=1)
        inputs = np.full((rows, self.length), blank, dtype=np.int64)
        np.put_along_axis(inputs, places, tokens, axis=1)
        inputs[:, shown] = blank + 1
        labels, distance = nothing_asked(inputs.shape)
        labels[:, shown + 1 :] = tokens
        distance[:, shown + 1 :] = np.arange(shown + 1, self.length) - places
        return Batch(inputs, labels, np.full(rows, self.length, dtype=np.int64), distance)

    def curriculum(self) -> Sequence[Task]:
        """2, 4, 8, … tokens among their share of blanks, up to this task itself."""
        smaller = (
            self.resized(tokens=n, length=max(2 * n + 1, self.length * n // self.tokens))
            for n in doublings(2, self.tokens)
        )
        return (*smaller, self)


@register
@dataclass(frozen=True)
class Compression(Sized):
    """Compression: rebuild a whole sequence from the state at its end.

    Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
    compression; the same tokens as athms/mad-lab.

    L - 1 random tokens in [0, V - 1), then the marker V - 1. MAD gives the state of the last step
    alone to a decoder, which has to name all L tokens. A causal model has no decoder; the
    equivalent is L - 1 empty steps after the marker (the marker again), in which the tokens are the
    answer, in order: the state at the marker has to hold them all. V = 8, length 4:

        inputs   5 0 3 7 7 7 7
        labels   . . . . 5 0 3      ('.' = nothing asked)

    vocab_size: V
    length:     L, tokens and marker; the causal form has 2L - 1 steps
    exact:      MAD's own arrays, L steps with every token its own label. They are for a decoder
                such as MAD's: a causal model would see the answer at the step of the question

    Chance is 1/(V - 1). A memory that knows the tokens but not their order guesses one of them.
    """

    name: ClassVar[str] = "compression"
    easiest: ClassVar[int] = 4
    sizes: ClassVar[tuple[int, ...]] = (8, 16, 32, 64, 128, 256, 1024)
    smallest: ClassVar[dict[str, int]] = {"vocab_size": 3, "length": 2}

    vocab_size: int = 16
    length: int = 32
    exact: bool = False

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - 1)

    @property
    def plateau(self) -> float | None:
        return among_held(self.length - 1, self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        marker, count = self.vocab_size - 1, self.length - 1
        tokens = rng.integers(marker, size=(rows, count))  # as MAD draws them row by row
        steps = self.length if self.exact else self.length + count
        lengths = np.full(rows, steps, dtype=np.int64)
        inputs = np.full((rows, steps), marker, dtype=np.int64)
        inputs[:, :count] = tokens
        if self.exact:
            return Batch(inputs, inputs.copy(), lengths, np.zeros_like(inputs))
        labels, distance = nothing_asked(inputs.shape)
        labels[:, self.length :] = tokens
        distance[:, self.length :] = self.length
        return Batch(inputs, labels, lengths, distance)
