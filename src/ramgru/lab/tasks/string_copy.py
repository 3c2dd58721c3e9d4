"""String copy: read a string of letters, then write it out again.

Jelassi et al., "Repeat after me: transformers are better than state space models at copying"
(arXiv 2402.01032), §3.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, letters, ranged
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.registry import register


@register
@dataclass(frozen=True)
class StringCopy(Task):
    """`$s|s.` for a string s of random letters. The second s is asked for letter by letter, each
    one step before it is shown (teacher forcing):

        inputs   $ d a d z | d a d z .
        labels   . . . . . d a d z . .      (labels: '.' = nothing asked)

    min_length: the shortest string
    length:     the longest; each example's own is uniform between the two (ragged batch)

    The metric counts letters: a guess is right with chance 1/26. As in the paper's score, the end
    mark is not asked for.
    """

    name: ClassVar[str] = "string_copy"
    metric: ClassVar[str] = "letter accuracy"
    padding: ClassVar[int] = letters.PAD

    min_length: int = 5
    length: int = 20

    def __post_init__(self) -> None:
        ranged.check(self, "length", 1)

    @property
    def vocab_size(self) -> int:
        return len(letters.CHARACTERS)

    @property
    def chance(self) -> float:
        return 1 / letters.LETTERS

    def draw(self, batch_size: int, seed: int) -> Batch:
        rows, seed = checks.draw_arguments(batch_size, seed)
        rng = np.random.default_rng(seed)
        count = rng.integers(self.min_length, self.length + 1, size=(rows, 1))
        string = rng.integers(0, letters.LETTERS, size=(rows, int(count.max()))), count
        prompt = [letters.mark(letters.START, rows), string, letters.mark(letters.BAR, rows)]
        return letters.ask(prompt, string, np.ones_like(count))

    def curriculum(self) -> Sequence[StringCopy]:
        """Strings of up to 5, 10, 20, … letters, up to this task itself."""
        return ranged.stages(self, "length", 5)

    def grid(self) -> Sequence[Slice]:
        """Strings of one length each: within training, then to 1,000 letters."""
        return ranged.slices(self, "length", letters.GRID)
