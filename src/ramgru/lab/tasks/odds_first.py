"""Odds first: read a binary string, then write its 1st, 3rd, 5th, … tokens, then the others.

Delétang et al., "Neural networks and the Chomsky hierarchy" (arXiv 2207.02098), odds first.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.transformation import StringTransformation


@register
@dataclass(frozen=True)
class OddsFirst(StringTransformation):
    """Places are counted from 1, as the paper does (its code counts from 0, and so puts the even
    places first):

        inputs   0 1 1 1 0 2 2 2 2 2
        labels   . . . . . 0 1 0 1 1      ('.' = nothing asked)

    Sizes and chance are those of every transformation of a string.
    """

    name: ClassVar[str] = "odds_first"

    def sources(self, place: np.ndarray, count: np.ndarray) -> np.ndarray:
        odds = (count + 1) // 2  # how many places are odd
        return np.where(place < odds, 2 * place, 2 * (place - odds) + 1)
