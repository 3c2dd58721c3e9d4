"""variable_tracking: chains of assignments among noise (RULER, arXiv 2404.06654)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from ramgru.lab.tasks import checks, sampling
from ramgru.lab.tasks.base import Batch, Slice, Task, doublings, nothing_asked
from ramgru.lab.tasks.registry import register

ASK = 0  # the token after which every step is a question
FORMS = ("names", "values")
# chains, hops, length: the paper's own setting is one chain of four hops
GRID = (
    *((1, 1, 64), (1, 4, 64), (2, 4, 128), (4, 4, 256), (4, 8, 512)),
    *((16, 4, 1024), (16, 16, 2048), (64, 16, 8192)),
)


@register
@dataclass(frozen=True)
class VariableTracking(Task):
    """Variable tracking: chains of assignments among noise. Which names end up with which value?

    Hsieh et al., "RULER" (arXiv 2404.06654), §3.2: `VAR A = 12345`, later `VAR B = VAR A`, and so
    on, between sentences without meaning; then "find all variables that are assigned the value
    12345". Here a name is one token, and so is a value.

    An assignment is two tokens: a name, then a value or a name assigned before. A chain starts with
    a value and hops from name to name. No name is assigned twice, and no two chains share a name or
    a value. Assignments stand anywhere among noise, those of a chain in its order. Token 0 follows,
    then one question a step.

    Form "names" (RULER's question): for each chain in turn its value, then its names in the order
    of the chain. Each is asked for one step before it is shown (teacher forcing), so the answer is
    always the one name that was given the token of this step. V = 24, noise 6, two chains of one
    hop, length 19:

        inputs   20 3 12 23 7 3 18 19 5 14 21 8 5 22 0 14 5 12 3
        labels   .  . .  .  . . .  .  . .  .  . . .  . 5  8 3  7
                    3=12    7=3       5=14    8=5               ('.' = nothing asked)

    Form "values": every name once, in any order; the answer is the value at the start of its chain:

        inputs   20 3 12 23 7 3 18 19 5 14 21 8 5 22 0 7  5  8  3
        labels   .  . .  .  . . .  .  . .  .  . . .  . 12 14 14 12

    form:       "names" or "values"
    vocab_size: V; names are tokens in [1, H), values in [H, V - noise), H = (V - noise) / 2
    chains:     number of values assigned
    hops:       names of each chain beyond its first
    length:     T; all steps without an assignment or a question are noise
    noise:      number of noise tokens, the last of the vocabulary

    Questions about a name that was given its value directly are of the kind "direct", all others
    "chained". `distance` counts from the step at which the answer was written. Chance among all
    names or all values is 2/(V - noise). A memory that knows which of them occurred, but no
    assignment, reaches 1/(chains * (hops + 1)), or 1/chains.
    """

    name: ClassVar[str] = "variable_tracking"
    kinds: ClassVar[tuple[str, ...]] = ("direct", "chained")
    smallest: ClassVar[dict[str, int]] = {"noise": 1, "chains": 1, "hops": 1, "length": 7}

    form: str = "names"
    vocab_size: int = 8192
    chains: int = 2
    hops: int = 4
    length: int = 128
    noise: int = 64

    def __post_init__(self) -> None:
        checks.one_of("form", self.form, FORMS)
        super().__post_init__()
        checks.integer("vocab_size", self.vocab_size, self.noise + 6)
        if self.names > self.half - 1:
            raise ValueError(
                f"chains * (hops + 1) must be at most {self.half - 1}, the number of names at "
                f"vocab_size={self.vocab_size} and noise={self.noise}, got {self.names}"
            )
        if self.length < 3 * self.names + 1:
            raise ValueError(
                f"length must be at least {3 * self.names + 1} for chains={self.chains} and "
                f"hops={self.hops}, got {self.length}"
            )

    @property
    def names(self) -> int:
        """Number of names assigned, and of questions."""
        return self.chains * (self.hops + 1)

    @property
    def half(self) -> int:
        """The first token that is a value."""
        return (self.vocab_size - self.noise) // 2

    @property
    def chance(self) -> float:
        values = self.vocab_size - self.noise - self.half
        return 1 / (self.half - 1 if self.form == "names" else values)

    @property
    def plateau(self) -> float | None:
        known = self.names if self.form == "names" else self.chains
        return 1 / known if known > 1 else None

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        count, chains, half = self.names, self.chains, self.half
        first_noise = self.vocab_size - self.noise
        shape = (rows, chains, self.hops + 1)  # one entry a name, chain by chain
        names = 1 + sampling.distinct(rng, rows, count, half - 1).reshape(shape)
        values = half + sampling.distinct(rng, rows, chains, first_noise - half)[..., None]
        given = np.concatenate([values, names[..., :-1]], axis=2)

        # Slots of the assignments: chains in any order, each chain in its own order.
        slots = np.sort(sampling.distinct(rng, rows, count, count).reshape(shape), axis=2)
        places = sampling.distinct(rng, rows, count, self.length - 1 - 2 * count)
        places = np.sort(places, axis=1) + np.arange(count)  # an assignment is one step longer
        places = np.take_along_axis(places, slots.reshape(rows, count), axis=1)
        inputs = rng.integers(first_noise, self.vocab_size, size=(rows, self.length))
        np.put_along_axis(inputs, places, names.reshape(rows, count), axis=1)
        np.put_along_axis(inputs, places + 1, given.reshape(rows, count), axis=1)

        if self.form == "names":
            hop = np.broadcast_to(np.arange(self.hops + 1), shape).reshape(rows, count)
            asked, answer, written = given.reshape(rows, count), names.reshape(rows, count), places
        else:
            order = sampling.distinct(rng, rows, count, count)
            chain, hop = np.divmod(order, self.hops + 1)
            asked = np.take_along_axis(names.reshape(rows, count), order, axis=1)
            answer = np.take_along_axis(values[..., 0], chain, axis=1)
            written = np.take_along_axis(places, order - hop, axis=1) + 1
        begin = self.length - count
        inputs[:, begin - 1] = ASK
        inputs[:, begin:] = asked
        labels, distance = nothing_asked(inputs.shape)
        labels[:, begin:] = answer
        distance[:, begin:] = np.arange(begin, self.length) - written
        kind = np.full_like(distance, -1)
        kind[:, begin:] = hop > 0
        return Batch(inputs, labels, np.full(rows, self.length, dtype=np.int64), distance, kind)

    def curriculum(self) -> Sequence[Task]:
        """One chain of one hop, two of two, four of four, …, up to this task itself."""
        stages = []
        for n in doublings(1, max(self.chains, self.hops) + 1):
            chains, hops = min(n, self.chains), min(n, self.hops)
            names = chains * (hops + 1)
            length = max(3 * names + 1, self.length * names // self.names)
            stages.append(self.resized(chains=chains, hops=hops, length=length))
        return tuple(dict.fromkeys((*(stage for stage in stages if stage != self), self)))

    def grid(self) -> Sequence[Slice]:
        """More chains, longer chains and more noise, limited by the names of the vocabulary."""
        sizes = {(self.chains, self.hops, self.length)}
        sizes.update(size for size in GRID if size[0] * (size[1] + 1) < self.half)
        return tuple(self.at(chains=c, hops=h, length=t) for c, h, t in sorted(sizes))
