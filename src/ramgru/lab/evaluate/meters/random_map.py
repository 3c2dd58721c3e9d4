"""Random inputs with random labels: there is nothing to understand, only to learn by heart.

Collins, Sohl-Dickstein and Sussillo, "Capacity and trainability in recurrent neural networks"
(arXiv 1611.09913), per-parameter capacity.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import IGNORE, Batch, Task, checks


@dataclass(frozen=True)
class RandomMap(Task):
    """`items` sequences of random vectors, each with one random bit, asked for at its last step.

        inputs   [.2 -.7 …] [-.1 .9 …] [.5 .3 …]
        labels       .           .         1         ('.' = nothing asked)

    The items are fixed by `map_seed`; a batch holds some of them, with repetition. Not a task of
    the registry: a model that has not learnt these very items can only guess.

    items:    sequences to learn
    width:    F, numbers a step, uniform in [−1, 1]
    length:   T, steps of a sequence
    map_seed: which items, and which labels
    """

    name: ClassVar[str] = "random_map"

    items: int = 256
    width: int = 8
    length: int = 4
    map_seed: int = 0

    def __post_init__(self) -> None:
        for name in ("items", "width", "length"):
            checks.integer(name, getattr(self, name), 1)
        checks.integer("map_seed", self.map_seed, 0)

    @property
    def vocab_size(self) -> int:
        return 0

    @property
    def features(self) -> int:
        return self.width

    @property
    def outputs(self) -> int:
        return 1

    @property
    def chance(self) -> float:
        return 0.5

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        return self._rows(np.random.default_rng(seed).integers(self.items, size=rows))

    def all(self) -> Batch:
        """Every item once."""
        return self._rows(np.arange(self.items))

    def _rows(self, which: np.ndarray) -> Batch:
        inputs, bits = _items(self)
        labels = np.full((len(which), self.length, 1), IGNORE, dtype=np.int64)
        labels[:, -1, 0] = bits[which]
        return Batch(inputs[which], labels, np.full(len(which), self.length, dtype=np.int64))


@lru_cache(maxsize=2)
def _items(task: RandomMap) -> tuple[np.ndarray, np.ndarray]:
    """-> (items, T, F) float32, (items,) bits"""
    rng = np.random.default_rng(task.map_seed)
    inputs = rng.uniform(-1, 1, size=(task.items, task.length, task.width)).astype(np.float32)
    return inputs, rng.integers(2, size=task.items)
