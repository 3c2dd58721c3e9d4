"""Duplicate: read a binary string, then write it twice in a row, as a queue read twice would.

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), duplicate string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.transformation import StringTransformation


@register
@dataclass(frozen=True)
class Duplicate(StringTransformation):
    """n tokens, then 2n empty steps:

        inputs   1 0 0 2 2 2 2 2 2
        labels   . . . 1 0 0 1 0 0      ('.' = nothing asked)

    Sizes and chance are those of every transformation of a string.
    """

    name: ClassVar[str] = "duplicate"
    answer_length: ClassVar[int] = 2

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        return place % count
