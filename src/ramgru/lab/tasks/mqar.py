"""Multi-query associative recall: read key-value pairs, then answer keys with their values.

Arora, Eyuboglu et al., "Zoology" (arXiv 2312.04927); the same bits as HazyResearch/zoology.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register

if TYPE_CHECKING:
    from ramgru.lab.tasks.mqar_update import MQARUpdate

# pairs, length: within training, then far beyond it
GRID = ((4, 64), (8, 64), (16, 64), (64, 256), (256, 1024), (1024, 4096))


@register
@dataclass(frozen=True)
class MQAR(Task):
    """Keys are tokens in [1, V/2), values in [V/2, V), 0 is blank. V = 12, pairs 2, length 16:

        inputs   2 8 4 7 0 0 4 0 0 0 0 0 2 0 0 0
        labels   . . . . . . 7 . . . . . 8 . . .
                 k v k v     k           k          ('.' = nothing asked)

    The answer to a key is asked for at the key's own place. Questions stand at even steps after
    the pairs; the gaps before them follow a power law, p(i) ∝ i^(power − 1).

    vocab_size:    V
    pairs:         key-value pairs, each asked for once
    length:        T, even, at least 4 * pairs
    power:         exponent a of the gaps; 1 is uniform
    random_blanks: put random tokens in place of the blanks (as zoology does by default)
    exact:         the very bits of zoology's generator, which costs a permutation of the
                   vocabulary a row (about 10 ms for 64 rows at V = 8,192). The default draws from
                   the same distribution in about a fiftieth of that, for training.

    A guess among all values is right with chance 2/V; a memory that knows which values it saw,
    but not of which key, reaches the plateau 1/pairs.
    """

    name: ClassVar[str] = "mqar"
    metric: ClassVar[str] = "recall"

    vocab_size: int = 8192
    pairs: int = 8
    length: int = 64
    power: float = 0.01
    random_blanks: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        checks.integer("vocab_size", self.vocab_size, 4)
        checks.integer("pairs", self.pairs, 1)
        check_sizes(self, f"pairs={self.pairs}")

    @property
    def needed(self) -> int:
        """The shortest length that holds the pairs and the questions."""
        return 4 * self.pairs

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - self.vocab_size // 2)

    @property
    def plateau(self) -> float:
        return 1 / self.pairs

    def draw(self, batch_size: int, seed: int) -> Batch:
        if self.exact:
            return self._draw_exact(batch_size, seed)
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        half = self.vocab_size // 2
        keys = 1 + sampling.distinct(rng, rows, self.pairs, half - 1)
        values = half + sampling.distinct(rng, rows, self.pairs, self.vocab_size - half)
        places = power_law(self.length // 2 - self.pairs, self.power)
        gaps = sampling.weighted(rng, rows, self.pairs, places)
        slots = np.broadcast_to(np.arange(self.pairs), keys.shape)
        batch = layout(keys[..., None], values, keys[..., None], slots, gaps, self.length)
        if self.random_blanks:
            noise = rng.integers(self.vocab_size, size=batch.inputs.shape)
            np.copyto(batch.inputs, noise, where=batch.inputs == 0)
        return batch

    def _draw_exact(self, batch_size: int, seed: int) -> Batch:
        # The order of the calls is the peer's: all keys, all values, all gaps, each row by row.
        rows, seed = checks.draw_arguments(batch_size, seed, seed_bits=32)
        rng = np.random.RandomState(seed)  # the peer's generator, bit for bit
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
            # The peer fills blanks from torch's global generator; here it starts from the seed too.
            import torch

            source = torch.Generator().manual_seed(seed)
            noise = torch.randint(self.vocab_size, batch.inputs.shape, generator=source).numpy()
            np.copyto(batch.inputs, noise, where=batch.inputs == 0)
        return batch

    def curriculum(self) -> Sequence[MQAR]:
        """2, 4, 8, … pairs at the same density of questions, up to this task itself."""
        smaller = (
            self.resized(pairs=pairs, length=max(4 * pairs, self.length * pairs // self.pairs & ~1))
            for pairs in doublings(self.pairs)
        )
        return (*smaller, self)

    def grid(self) -> Sequence[Slice]:
        """The sizes of GRID that the vocabulary has keys for, and this task itself."""
        sizes = {(self.pairs, self.length)}
        sizes.update(size for size in GRID if size[0] < self.vocab_size // 2)
        return tuple(
            Slice({"pairs": pairs, "length": length}, self.resized(pairs=pairs, length=length))
            for pairs, length in sorted(sizes)
        )


def check_sizes(task: MQAR | MQARUpdate, held: str) -> None:
    """ValueError unless length, vocabulary and power suit what a row holds (`held` names it)."""
    checks.integer("length", task.length, 4)
    if task.length % 2:
        raise ValueError(f"length must be even, got {task.length}")
    if task.length < task.needed:
        raise ValueError(f"length must be at least {task.needed} for {held}, got {task.length}")
    if task.pairs > task.vocab_size // 2 - 1:
        raise ValueError(
            f"pairs must be at most {task.vocab_size // 2 - 1}, the number of keys at "
            f"vocab_size={task.vocab_size}, got {task.pairs}"
        )
    if not 0 < task.power < math.inf:
        raise ValueError(f"power must be positive and finite, got {task.power}")


def doublings(pairs: int) -> list[int]:
    """2, 4, 8, … below `pairs`."""
    return [2**i for i in range(1, pairs.bit_length()) if 2**i < pairs]


def power_law(spaces: int, power: float) -> np.ndarray:
    """(spaces,) float64: the probability of each space after the pairs as a question's."""
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

    keys:   (B, S, K) what is written, in order
    values: (B, S) their values
    asked:  (B, P, K) the keys that are asked for
    slots:  (B, P) in [0, S), which of the written values is the answer
    gaps:   (B, P) where each question stands, in units of a pair's K + 1 steps after the pairs
    """
    rows, written, size = keys.shape
    unit = size + 1
    units = np.zeros((rows, length // unit, unit), dtype=np.int64)
    units[:, :written, :size] = keys
    units[:, :written, size] = values
    units[np.arange(rows)[:, None], written + gaps, :size] = asked
    inputs = np.zeros((rows, length), dtype=np.int64)
    inputs[:, : units[0].size] = units.reshape(rows, -1)
    labels = np.full((rows, length), IGNORE, dtype=np.int64)
    distance = np.full((rows, length), -1, dtype=np.int64)
    places = (written + gaps) * unit + size - 1  # the last token of the key
    np.put_along_axis(labels, places, np.take_along_axis(values, slots, axis=1), axis=1)
    np.put_along_axis(distance, places, places - (slots * unit + size), axis=1)
    return Batch(inputs, labels, np.full(rows, length, dtype=np.int64), distance)
