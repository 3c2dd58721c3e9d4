"""Missing duplicate: a binary string stands twice in a row with one token hidden; which is it?

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), missing duplicate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, ranged
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.transformation import GRID

HIDDEN, FILLER, EMPTY = 2, 3, 4  # the hidden token, the last step of an odd length, the answer's


@register
@dataclass(frozen=True)
class MissingDuplicate(Task):
    """A string of the tokens 0 and 1, then the same again; any one of all its tokens is hidden
    (token 2). In one empty step after it (token 4) the hidden token is the answer, as its twin,
    half the length away, tells. An odd length is filled up with token 3:

        inputs   1 0 1 1 2 1 3 4
        labels   . . . . . . . 0      ('.' = nothing asked)

    min_length: the fewest tokens of both strings together, filler included
    length:     the most; each example's own number is uniform between the two (ragged batch)

    Tokens 0 and 1 are equally likely, so a guess is right with chance 1/2.
    """

    name: ClassVar[str] = "missing_duplicate"
    padding: ClassVar[int] = EMPTY

    min_length: int = 2
    length: int = 40

    def __post_init__(self) -> None:
        ranged.check(self, "length", 2)

    @property
    def vocab_size(self) -> int:
        return 5

    @property
    def chance(self) -> float:
        return 0.5

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))
        half = count // 2
        hidden = rng.integers(0, 2 * half)  # (B, 1)
        twin = (hidden + half) % (2 * half)
        steps = np.arange(int(count.max()) + 1)[None]  # (1, T)
        bits = rng.integers(0, 2, size=(rows, int(half.max())))
        inputs = np.take_along_axis(bits, steps % half, axis=1)
        answer = np.take_along_axis(inputs, twin, axis=1)
        inputs[steps == hidden] = HIDDEN
        inputs[steps >= 2 * half] = FILLER
        inputs[steps >= count] = EMPTY
        asked = steps == count
        labels = np.where(asked, answer, IGNORE)
        distance = np.where(asked, count - twin, -1)
        return Batch(inputs, labels, count[:, 0] + 1, distance)

    def curriculum(self) -> Sequence[MissingDuplicate]:
        """Up to 5, 10, 20, … tokens, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """One length each: within training, then to 500 tokens."""
        return ranged.slices(self, "length", GRID)
