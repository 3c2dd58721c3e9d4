"""Reverse: read a binary string, then write it from its end to its beginning, as a stack would.

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), reverse string.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.transformation import StringTransformation


@register
@dataclass(frozen=True)
class Reverse(StringTransformation):
    """The last token comes first:

        inputs   1 0 1 1 0 2 2 2 2 2
        labels   . . . . . 0 1 1 0 1      ('.' = nothing asked)

    Sizes and chance are those of every transformation of a string.
    """

    name: ClassVar[str] = "reverse"

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        return count - 1 - place
