"""lag_recall: name the symbol that came a fixed number of steps ago."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.base import Batch, Sized, Task, nothing_asked
from ramgru.lab.tasks.registry import register


@register
@dataclass(frozen=True)
class LagRecall(Sized):
    """Lag recall: name, at every step, the symbol that came a fixed number of steps ago.

    Morad et al., "POPGym: benchmarking partially observable reinforcement learning" (arXiv
    2303.01859), RepeatPrevious: four symbols; lag 4 in Easy, 32 in Medium, 64 in Hard. There the
    symbols are the suits of shuffled decks of cards; here each is drawn anew. Lag 3:

        inputs   2 0 1 1 3 0 2 2 1
        labels   . . . 2 0 1 1 3 0      ('.' = nothing asked)

    symbols: number of symbols, equally likely
    lag:     how many steps ago the answer came
    length:  steps, at least 3 * lag
    """

    name: ClassVar[str] = "lag_recall"
    sizes: ClassVar[tuple[int, ...]] = (96, 256, 1024, 4096)
    smallest: ClassVar[dict[str, int]] = {"symbols": 2, "lag": 1, "length": 3}

    symbols: int = 4
    lag: int = 32
    length: int = 96

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.length < self.least:
            raise ValueError(
                f"length must be at least {self.least} for lag={self.lag}, got {self.length}"
            )

    @property
    def least(self) -> int:
        return 3 * self.lag

    @property
    def vocab_size(self) -> int:
        return self.symbols

    @property
    def chance(self) -> float:
        return 1 / self.symbols

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        inputs = rng.integers(self.symbols, size=(rows, self.length))
        labels, distance = nothing_asked(inputs.shape)
        labels[:, self.lag :] = inputs[:, : -self.lag]
        distance[:, self.lag :] = self.lag
        return Batch(inputs, labels, np.full(rows, self.length, dtype=np.int64), distance)

    def curriculum(self) -> Sequence[Task]:
        """The task alone: a shorter lag is another question, not an easier one."""
        return (self,)
