"""hold: keep key-value pairs through a long stretch of noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Ranged, nothing_asked
from ramgru.lab.tasks.registry import register


@register
@dataclass(frozen=True)
class Hold(Ranged):
    """Hold: keep what was written through a long stretch of noise.

    One pair of `mqar` (Arora, Eyuboglu et al., arXiv 2312.04927) and the noise tokens of MAD's
    noisy recall (Poli et al., arXiv 2403.17844), with all noise between the write and the question.

    Pairs, then steps of noise, then each key once, at which its value is asked for. Token 0 is
    padding; then come the keys, as many values or one more, and the noise tokens. V = 20, noise 6,
    pairs 2, five steps of noise:

        inputs   3 9 5 12 17 14 19 14 15 5  3
        labels   . . . .  .  .  .  .  .  12 9
                 k v k v  n  n  n  n  n  k  k      ('.' = nothing asked)

    vocab_size:   V; keys are tokens in [1, H), values in [H, V - noise), H = (V - noise) / 2
    pairs:        key-value pairs, each asked for once, in any order
    min_distance: the fewest steps of noise
    distance:     the most; each example draws its own number uniformly between the two
    noise:        number of noise tokens

    Chance among all values is 2/(V - noise). A memory that knows which values occurred, but not
    with which key, reaches 1/pairs.
    """

    name: ClassVar[str] = "hold"
    metric: ClassVar[str] = "recall"
    axis: ClassVar[str] = "distance"
    easiest: ClassVar[int] = 25
    smallest: ClassVar[dict[str, int]] = {"noise": 1, "pairs": 1}
    sizes: ClassVar[tuple[int, ...]] = (64, 256, 1024, 16_384, 131_072, 1_000_000)

    vocab_size: int = 8192
    pairs: int = 1
    min_distance: int = 0
    distance: int = 200
    noise: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.integer("vocab_size", self.vocab_size, self.noise + 4)
        if self.pairs > self.half - 1:
            raise ValueError(
                f"pairs must be at most {self.half - 1}, the number of keys at vocab_size="
                f"{self.vocab_size} and noise={self.noise}, got {self.pairs}"
            )

    @property
    def least(self) -> int:
        return 0

    @property
    def half(self) -> int:
        """The first token that is a value."""
        return (self.vocab_size - self.noise) // 2

    @property
    def chance(self) -> float:
        return 1 / (self.vocab_size - self.noise - self.half)

    @property
    def plateau(self) -> float | None:
        return 1 / self.pairs if self.pairs > 1 else None  # one value is known for sure

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        pairs, half, first_noise = self.pairs, self.half, self.vocab_size - self.noise
        away = self.counts(rng, rows)
        keys = 1 + sampling.distinct(rng, rows, pairs, half - 1)
        values = half + sampling.distinct(rng, rows, pairs, first_noise - half)
        slots = sampling.distinct(rng, rows, pairs, pairs)  # (B, pairs) the order of the questions

        shape = (rows, 3 * pairs + int(away.max()))
        inputs = rng.integers(first_noise, self.vocab_size, size=shape)
        inputs[:, 0 : 2 * pairs : 2] = keys
        inputs[:, 1 : 2 * pairs : 2] = values
        inputs[np.arange(shape[1]) >= 2 * pairs + away] = 0
        places = 2 * pairs + away + np.arange(pairs)  # (B, pairs) of the questions
        np.put_along_axis(inputs, places, np.take_along_axis(keys, slots, axis=1), axis=1)
        labels, distance = nothing_asked(shape)
        np.put_along_axis(labels, places, np.take_along_axis(values, slots, axis=1), axis=1)
        np.put_along_axis(distance, places, places - (2 * slots + 1), axis=1)
        return Batch(inputs, labels, 3 * pairs + away[:, 0], distance)
