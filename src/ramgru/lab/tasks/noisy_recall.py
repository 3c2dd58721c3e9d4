"""Noisy recall: in-context recall in which noise takes the place of some pairs.

Poli et al., "Mechanistic design and scaling of hybrid architectures" (MAD, arXiv 2403.17844),
noisy in-context recall; the same bits as the test split of athms/mad-lab.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ramgru.lab.tasks import checks
from ramgru.lab.tasks.in_context_recall import InContextRecall
from ramgru.lab.tasks.registry import register


@register
@dataclass(frozen=True)
class NoisyRecall(InContextRecall):
    """As `in_context_recall`, among noise: keys are tokens in [0, H/2) and values in [H/2, H) with
    H = V - noise, and the rest of the vocabulary stands for nothing. At each pair's place two such
    tokens come instead, with probability `fraction`; at least one pair and the last remain.
    V = 12, noise 4, length 14:

        inputs   2 5 0 7 9 11 2 5 8 8 0 7 2
        labels   . . . . . .  5 . . . 7 . 5
                 k v k v n n  k v n n k v k      ('.' = nothing asked)

    vocab_size:  V, with the noise
    length:      L, even: L/2 pairs, of which some are noise; L - 1 steps
    every_token: ask for the token that comes next at every step, as MAD does in training
    exact:       the very bits of MAD's generator, row by row in Python
    noise:       how many of the tokens are noise
    fraction:    the probability of noise, below 1

    A guess among all values is right with chance 2/(V - noise); a memory that knows the values of
    all keys, but not which is whose, guesses one of them.
    """

    name: ClassVar[str] = "noisy_recall"

    vocab_size: int = 32
    noise: int = 16
    fraction: float = 0.2

    def __post_init__(self) -> None:
        checks.integer("noise", self.noise, 1)
        checks.share("fraction", self.fraction, whole=False)
        super().__post_init__()

    @property
    def noise_tokens(self) -> int:
        return self.noise

    @property
    def noise_share(self) -> float:
        return self.fraction
