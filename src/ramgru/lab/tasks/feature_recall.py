"""feature_recall: a part of a feature vector is the key, and it comes back with noise."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import sampling
from ramgru.lab.tasks.base import Batch, Ranged, Task, among_held, nothing_asked
from ramgru.lab.tasks.registry import register

KEY = 16  # numbers of a key that is not one-hot
VALUES = 32


@register
@dataclass(frozen=True)
class FeatureRecall(Ranged):
    """Feature recall: find a feature vector again by a part of it that comes back with noise.

    As `mqar` (Arora, Eyuboglu et al., arXiv 2312.04927), over features instead of tokens, and with
    key and value in one step.

    A step is a key, a value (one-hot), a flag and distractors, which are normal numbers without
    meaning. First come the pairs; then their keys, in any order, with noise and without a value.
    The answer is the value's number, 0 to 31. Three pairs; time runs to the right:

        key      a  b  c  b' a' c'     labels   . . . 9 4 7
        value    4  9  7  .  .  .                               ('.' = nothing asked, or zeros)
        flag     0  0  0  1  1  1

    min_pairs:   the fewest pairs
    pairs:       the most; each example draws its own number uniformly between the two
    noise:       standard deviation of the normal noise on the keys of the questions
    distractors: number of features without meaning, drawn anew at every step
    scale:       all features are multiplied by this number
    one_hot:     width of one-hot keys, different ones in an example; 0: keys of 16 normal numbers

    n pairs take 2n steps. Chance is 1/32. A memory that knows which values occurred, but not with
    which key, guesses one of them.
    """

    name: ClassVar[str] = "feature_recall"
    metric: ClassVar[str] = "recall"
    classes: ClassVar[bool] = True
    axis: ClassVar[str] = "pairs"
    sizes: ClassVar[tuple[int, ...]] = (4, 16, 64, 256, 1024)
    smallest: ClassVar[dict[str, int]] = {"distractors": 0, "one_hot": 0}
    vocab_size = 0

    min_pairs: int = 1
    pairs: int = 16
    noise: float = 0.2
    distractors: int = 16
    scale: float = 1.0
    one_hot: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be at least 0 and finite, got {self.noise}")
        if not 0 < self.scale < math.inf:
            raise ValueError(f"scale must be positive and finite, got {self.scale}")
        if 0 < self.one_hot < self.pairs:
            raise ValueError(
                f"pairs must be at most {self.one_hot}, the number of keys at "
                f"one_hot={self.one_hot}, got {self.pairs}"
            )

    def curriculum(self) -> Sequence[Task]:
        """The task itself: keys that were learned on few pairs must be learned anew on more."""
        return (self,)

    @property
    def most(self) -> int | None:
        return self.one_hot or None

    @property
    def features(self) -> int:
        return (self.one_hot or KEY) + VALUES + 1 + self.distractors

    @property
    def outputs(self) -> int:
        return VALUES

    @property
    def chance(self) -> float:
        return 1 / VALUES

    @property
    def plateau(self) -> float | None:
        return among_held(self.pairs, self.chance)

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        pairs = self.counts(rng, rows)  # (B, 1)
        most, width = int(pairs.max()), self.one_hot or KEY
        if self.one_hot:
            chosen = sampling.distinct(rng, rows, most, width)
            keys = np.eye(width, dtype=np.float32)[chosen]  # (B, P, width)
        else:
            keys = rng.standard_normal((rows, most, width), dtype=np.float32)
        values = rng.integers(VALUES, size=(rows, most))
        lot = rng.random((rows, most))
        lot[np.arange(most) >= pairs] = np.inf  # pairs beyond a row's own come last
        order = np.argsort(lot, axis=1)  # (B, P) the order of the questions
        noise = self.noise * rng.standard_normal(keys.shape, dtype=np.float32)

        inputs = np.zeros((rows, 2 * most, self.features), dtype=np.float32)
        labels, distance = nothing_asked(inputs.shape[:2])
        row, pair = np.nonzero(np.arange(most) < pairs)
        inputs[row, pair, :width] = keys[row, pair]
        inputs[row, pair, width + values[row, pair]] = 1
        step, answer = pairs[row, 0] + pair, order[row, pair]
        inputs[row, step, :width] = keys[row, answer] + noise[row, pair]
        inputs[row, step, width + VALUES] = 1
        labels[row, step] = values[row, answer]
        distance[row, step] = step - answer
        used = np.arange(2 * most) < 2 * pairs
        extra = (int(used.sum()), self.distractors)
        inputs[used, width + VALUES + 1 :] = rng.standard_normal(extra, dtype=np.float32)
        inputs *= np.float32(self.scale)
        return Batch(inputs, labels, 2 * pairs[:, 0], distance)
