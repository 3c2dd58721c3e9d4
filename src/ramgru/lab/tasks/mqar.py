"""Multi-query associative recall: mqar, and mqar_update, in which keys are written again."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Slice, Task, doublings, nothing_asked
from ramgru.lab.tasks.registry import register

# pairs, length: within training, then far beyond it
GRID = ((4, 64), (8, 64), (16, 64), (64, 256), (256, 1024), (1024, 4096))


@dataclass(frozen=True)
class Pairs(Task):
    """Key-value pairs, then questions for the value of each key.

    vocab_size:    V; keys are tokens in [1, V/2), values in [V/2, V), 0 is blank
    pairs:         number of keys, each asked for once
    length:        T, even
    power:         exponent a of the gaps before the questions; 1 is uniform
    random_blanks: put random tokens in place of the blanks (as zoology does by default)
    """

    metric: ClassVar[str] = "recall"
    smallest: ClassVar[dict[str, int]] = {"vocab_size": 4, "pairs": 1, "length": 4}
    updates = 0  # keys that are written a second time

    vocab_size: int = 8192
    pairs: int = 8
    length: int = 64
    power: float = 0.01
    random_blanks: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("updates", self.updates, 0, self.pairs)
        if self.length % 2:
            raise ValueError(f"length must be even, got {self.length}")
        if self.length < self.needed:
            held = f"pairs={self.pairs}" + (f" and updates={self.updates}" if self.kinds else "")
            raise ValueError(f"length must be at least {self.needed} for {held}, got {self.length}")
        if self.pairs > self.vocab_size // 2 - 1:
            raise ValueError(
                f"pairs must be at most {self.vocab_size // 2 - 1}, the number of keys at "
                f"vocab_size={self.vocab_size}, got {self.pairs}"
            )
        if not 0 < self.power < math.inf:
            raise ValueError(f"power must be positive and finite, got {self.power}")

    @property
    def needed(self) -> int:
        """The shortest length that holds the pairs, the updates and the questions."""
        return 4 * self.pairs + 2 * self.updates

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - self.vocab_size // 2)

    @property
    def plateau(self) -> float:
        return 1 / (self.pairs + self.updates)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        half, pairs, updates = self.vocab_size // 2, self.pairs, self.updates
        values_known = self.vocab_size - half
        keys = 1 + sampling.distinct(rng, rows, pairs, half - 1)
        values = sampling.distinct(rng, rows, pairs, values_known)
        again = sampling.distinct(rng, rows, updates, pairs)  # (B, updates) keys written again
        # A shift by 1 … n-1 around the circle of n values is uniform over the other values.
        shift = rng.integers(1, values_known, size=(rows, updates))
        fresh = (np.take_along_axis(values, again, axis=1) + shift) % values_known

        slots = np.tile(np.arange(pairs), (rows, 1))
        np.put_along_axis(slots, again, pairs + np.arange(updates)[None], axis=1)
        written = np.concatenate([keys, np.take_along_axis(keys, again, axis=1)], axis=1)
        answers = half + np.concatenate([values, fresh], axis=1)
        places = power_law(self.length // 2 - (pairs + updates), self.power)
        gaps = sampling.weighted(rng, rows, pairs, places)
        batch = layout(written[..., None], answers, keys[..., None], slots, gaps, self.length)
        if self.random_blanks:
            noise = rng.integers(self.vocab_size, size=batch.inputs.shape)
            np.copyto(batch.inputs, noise, where=batch.inputs == 0)
        if not self.kinds:
            return batch
        kind = np.full_like(batch.labels, -1)
        asked_at = 2 * (pairs + updates) + 2 * gaps
        np.put_along_axis(kind, asked_at, (slots >= pairs).astype(np.int64), axis=1)
        return replace(batch, kind=kind)

    def curriculum(self) -> Sequence[Task]:
        """2, 4, 8, … pairs, with their share of updates, at the same density of questions, up to
        this task itself."""
        smaller = (
            self._scaled(pairs, self.length * pairs // self.pairs & ~1)
            for pairs in doublings(2, self.pairs)
        )
        return (*smaller, self)

    def grid(self) -> Sequence[Slice]:
        """The sizes of GRID that the vocabulary has keys for, with their share of updates, and
        this task itself."""
        tasks = {self, *(self._scaled(p, t) for p, t in GRID if p < self.vocab_size // 2)}
        axes = ("pairs", "updates", "length") if self.kinds else ("pairs", "length")
        return tuple(
            Slice({axis: getattr(task, axis) for axis in axes}, task)
            for task in sorted(tasks, key=lambda task: (task.pairs, task.length))
        )

    def _scaled(self, pairs: int, length: int) -> Pairs:
        updates = min(pairs, -(-self.updates * pairs // self.pairs))  # rounded up
        sizes = {"pairs": pairs, "length": max(length, 4 * pairs + 2 * updates)}
        return self.resized(**sizes, **({"updates": updates} if self.kinds else {}))


@register
@dataclass(frozen=True)
class MQAR(Pairs):
    """Multi-query associative recall: read key-value pairs, then answer each key with its value.

    Arora, Eyuboglu et al., "Zoology" (arXiv 2312.04927); the same bits as HazyResearch/zoology.

    Keys are tokens in [1, V/2), values in [V/2, V), 0 is blank. V = 12, pairs 2, length 16:

        inputs   2 8 4 7 0 0 4 0 0 0 0 0 2 0 0 0
        labels   . . . . . . 7 . . . . . 8 . . .
                 k v k v     k           k          ('.' = nothing asked)

    The answer is asked for at the step of the key. Questions stand at even steps after the pairs;
    the gaps before them follow a power law, p(i) ∝ i^(power − 1).

    length: T, even, at least 4 * pairs
    exact:  the very bits of zoology's generator, which costs a permutation of the vocabulary a row
            (about 10 ms for 64 rows at V = 8,192). The default draws from the same distribution in
            about a fiftieth of that time, for training.

    Chance among all values is 2/V. A memory that knows which values occurred, but not with which
    key, reaches the plateau 1/pairs.
    """

    name: ClassVar[str] = "mqar"

    exact: bool = False

    def draw(self, batch_size: int, seed: int) -> Batch:
        if not self.exact:
            return super().draw(batch_size, seed)
        # The order of the calls is zoology's: all keys, all values, all gaps, each row by row.
        rows, seed = checks.draw_arguments(batch_size, seed, seed_bits=32)
        rng = np.random.RandomState(seed)  # zoology's generator, bit for bit
        half = self.vocab_size // 2
        p = power_law(self.length // 2 - self.pairs, self.power)

        def choose(population: int, p: np.ndarray | None = None) -> np.ndarray:
            row = [rng.choice(population, self.pairs, replace=False, p=p) for _ in range(rows)]
            return np.stack(row).astype(np.int64)

        keys = 1 + choose(half - 1)
        values = half + choose(self.vocab_size - half)
        gaps = choose(p.size, p)
        slots = np.broadcast_to(np.arange(self.pairs), keys.shape)
        batch = layout(keys[..., None], values, keys[..., None], slots, gaps, self.length)
        if self.random_blanks:
            # zoology fills blanks from torch's global generator; here it starts from the seed too.
            import torch

            source = torch.Generator().manual_seed(seed)
            noise = torch.randint(self.vocab_size, batch.inputs.shape, generator=source).numpy()
            np.copyto(batch.inputs, noise, where=batch.inputs == 0)
        return batch


@register
@dataclass(frozen=True)
class MQARUpdate(Pairs):
    """Associative recall with updates: keys are written again, and the latest value counts.

    After zoology's `forgetting_mqar`; there a new value can equal the old one, here it never does.

    As `mqar`, with `updates` of the keys written a second time. V = 12, pairs 3, updates 1,
    length 16:

        inputs   2 8 4 7 1 9 4 11 4  0 0 0 1 0 2 0
        labels   . . . . . . . .  11 . . . 9 . 8 .
                 k v k v k v k v' k        k   k     ('.' = nothing asked)

    updates: number of keys that are written again, at most `pairs`
    length:  T, even, at least 4 * pairs + 2 * updates

    Chance among all values is 2/V. A memory that knows which values occurred, but not with which
    key, reaches 1/(pairs + updates). A memory that keeps the first value of each key answers all
    questions of the kind "kept" and none of the kind "updated".
    """

    name: ClassVar[str] = "mqar_update"
    kinds: ClassVar[tuple[str, ...]] = ("kept", "updated")

    updates: int = 4


def power_law(spaces: int, power: float) -> np.ndarray:
    """(spaces,) float64: the probability of each space after the pairs to hold a question."""
    p = power * np.arange(1, spaces + 1) ** (power - 1)
    return p / p.sum()


def layout(
    keys: np.ndarray,
    values: np.ndarray,
    asked: np.ndarray,
    slots: np.ndarray,
    gaps: np.ndarray,
    length: int,
) -> Batch:
    """Pairs written one after the other, then questions among blanks. K tokens a key.

    keys:   (B, S, K) the keys in the order of writing
    values: (B, S) their values
    asked:  (B, P, K) the keys that are asked for
    slots:  (B, P) in [0, S), the written value that is the answer
    gaps:   (B, P) the place of each question, in units of a pair's K + 1 steps after the pairs
    """
    rows, written, size = keys.shape
    unit = size + 1
    units = np.zeros((rows, length // unit, unit), dtype=np.int64)
    units[:, :written, :size] = keys
    units[:, :written, size] = values
    units[np.arange(rows)[:, None], written + gaps, :size] = asked
    inputs = np.zeros((rows, length), dtype=np.int64)
    inputs[:, : units[0].size] = units.reshape(rows, -1)
    labels, distance = nothing_asked(inputs.shape)
    places = (written + gaps) * unit + size - 1  # the last token of the key
    np.put_along_axis(labels, places, np.take_along_axis(values, slots, axis=1), axis=1)
    np.put_along_axis(distance, places, places - (slots * unit + size), axis=1)
    return Batch(inputs, labels, np.full(rows, length, dtype=np.int64), distance)
