"""The task of zoology's recall-memory figure: trained on a mixture of sizes, tested beyond them.

Arora, Eyuboglu et al., "Simple linear attention language models balance the recall-throughput
tradeoff" (arXiv 2402.18668), figure 2: the same sizes, in the same shares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import MQAR
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.registry import register

# (pairs, length): thousands of examples there
TRAINED = {(4, 64): 100, (8, 128): 20, (16, 256): 20, (32, 256): 20, (64, 256): 20}
TESTED = ((4, 64), (8, 64), (16, 64), (32, 128), (64, 256), (128, 512), (256, 1024))
SIZES = 0x517E5  # keeps the draws of sizes apart from the draws of examples


@register
@dataclass(frozen=True)
class RecallMixture(Task):
    """Multi-query associative recall; all sequences of a batch have one size, drawn by its share.

    vocab_size: as of `MQAR`
    trained:    sizes of up to so many pairs are drawn
    tested:     sizes of up to so many pairs are swept
    """

    name: ClassVar[str] = "recall_mixture"
    metric: ClassVar[str] = "recall"

    vocab_size: int = 8192
    trained: int = 64
    tested: int = 256

    def __post_init__(self) -> None:
        for name in ("trained", "tested"):
            if getattr(self, name) < 4:
                raise ValueError(f"{name} must be at least 4, got {getattr(self, name)}")

    @property
    def chance(self) -> float:
        return self.sized((4, 64)).chance

    def sized(self, size: tuple[int, int]) -> MQAR:
        """The task of one size (pairs, length)."""
        return MQAR(vocab_size=self.vocab_size, pairs=size[0], length=size[1])

    def draw(self, batch_size: int, seed: int) -> Batch:
        shares = {size: share for size, share in TRAINED.items() if size[0] <= self.trained}
        p = np.array(list(shares.values())) / sum(shares.values())
        size = list(shares)[np.random.default_rng([SIZES, seed]).choice(len(shares), p=p)]
        return self.sized(size).draw(batch_size, seed)

    def grid(self) -> Sequence[Slice]:
        return tuple(
            Slice({"pairs": size[0], "length": size[1]}, self.sized(size))
            for size in TESTED
            if size[0] <= self.tested
        )
