"""Fuzz: layers of random options on random data, each path against single steps in float64."""

from __future__ import annotations

import copy
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ramgru import RAMGRU, RAMGRUState

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "layer"))
from layer_cases import (
    CONTROLLERS,
    Case,
    Result,
    Tensors,
    assert_same,
    everything,
    whole,
)
from layer_oracle import oracle

PROMISE = "Every path of the layer gives the numbers of single steps in float64."
HOW = (
    "A layer, its data and its options are drawn from the seed: heads, cells, widths, controllers, "
    "layers, lengths, resets, explicit addresses, starting states. Three cases in four run as a "
    "trained layer does, without a graph. A forward pass in float64 and "
    "one that is split at two places must equal single steps within 1e-10, output and state, and "
    "for one case in eight every gradient; where keys learn, from the steps of one call, the "
    "gradient of a loop over the equations. In float32, single steps in place must equal a forward "
    "pass within 1e-4, and both the numbers in float64 unless rounding has changed an address. One "
    "case in 500 is compiled."
)
CASES = 1_000_000
CLOSE = 1e-4  # of float32, for outputs of size one
LENGTHS = (1, 1, 2, 2, 3, 3, 3, 4, 5, 5, 6, 7, 8, 8, 17, 33)


def draw(seed: int) -> Case:
    """The case of a seed."""
    r = random.Random(seed)
    kinds = [
        f"{r.choice(('key', 'learned'))}:{r.randint(1, 3)}"
        f":skip={r.randint(0, 2)}:write_after={r.randint(0, 2)}",
        *("lag:4", "lag:2", "tape", "tape"),
    ]
    heads = [r.choice(kinds) for _ in range(r.randint(1, 4))]
    N = r.choice([4, 8, 12, 72, 4160])
    return Case(
        B=r.randint(1, 4),
        T=r.choice(LENGTHS),
        I=r.randint(1, 5),
        C=r.randint(1, 6),
        L=r.randint(1, 2),
        heads=" ".join(heads),
        N=N,
        W=r.randint(1, min(N, 3)),
        R=r.randint(1, min(N, 5)),
        width=r.choice([None, None, 1, 3, 8]),
        tag=r.choice([0, 3, 8, 16]),
        controller=r.choice(CONTROLLERS),
        bias=r.random() < 0.8,
        learned_start=r.random() < 0.3,
        start=r.choice(["fresh", "compact", "dense"]) if N < 1000 else "compact",
        lengths=r.random() < 0.3,
        reset=r.random() < 0.4,
        index=r.choice(["none", "none", "none", "step", "head", "cells"]),
        seed=seed,
    )


def steps(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    """Single steps; a sequence that has ended keeps its state."""
    options = dict(options)
    lengths, outputs = options.pop("lengths", None), []
    for t in range(x.shape[1]):
        y, after = layer.step(x[:, t], state, **{name: v[:, t] for name, v in options.items()})
        if lengths is None:
            state = after
        else:
            runs = (t < lengths).tolist()
            parts = [(after if runs[b] else state)[b : b + 1] for b in range(len(x))]
            state = RAMGRUState.cat(parts)
            y = y * (t < lengths).to(y.dtype)[:, None]
        outputs.append(y)
    return torch.stack(outputs, 1), state


def pieces(cut: int) -> Callable[[RAMGRU, Tensor, RAMGRUState, Tensors], Result]:
    """A forward pass in two pieces, the first of `cut` steps."""

    def run(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        outputs = []
        for span in (slice(0, cut), slice(cut, x.shape[1])):
            given = {k: v[:, span] for k, v in options.items() if k != "lengths"}
            length = span.stop - span.start
            if "lengths" in options:
                given["lengths"] = (options["lengths"] - span.start).clamp(0, length)
            if length:
                y, state = layer(x[:, span], state, **given)
                outputs.append(y)
        return torch.cat(outputs, 1), state

    return run


def in_place(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    """Single steps that overwrite the state, from a copy."""
    state, outputs = state.clone().dense(), []
    for t in range(x.shape[1]):
        reset = options["reset"][:, t] if "reset" in options else None
        y, state = layer.step_(x[:, t], state, reset=reset)
        outputs.append(y)
    return torch.stack(outputs, 1), state


class Narrow:
    """A run of a case by its layer in float32."""

    def __init__(self, run: Callable[..., Result], layer: RAMGRU) -> None:
        self.run, self.layer = run, layer

    def __call__(self, _: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
        y, after = self.run(self.layer, x.float(), state.to(dtype=torch.float32), options)
        return y.double(), after.to(dtype=torch.float64)


def largest(a: Tensors, b: Tensors) -> float:
    """The largest difference, relative to numbers above one."""
    gaps = [((a[n] - b[n]).abs() / b[n].abs().clamp(min=1)).max() for n in a if a[n].numel()]
    return float(max(gaps, default=torch.zeros(())))


def prepare(folder: Path) -> Callable[[int], str]:
    torch.set_num_threads(1)
    return check


def check(seed: int) -> str:
    # A graph, or its absence, chooses between the paths of training and those of a trained layer.
    with torch.set_grad_enabled(seed % 4 == 0):
        return compare(draw(seed), seed)


def compare(case: Case, seed: int) -> str:
    layer = case.layer()

    def found(run: Callable[..., Result], gradients: bool = False) -> Tensors:
        return everything(case, run, gradients, layer)

    gradients = seed % 8 == 0
    if gradients and "learned" in case.heads:  # whose keys have a gradient within one call
        assert_same(found(whole, True), found(oracle, True))
        gradients = False
    expected = found(steps, gradients)
    assert_same(found(whole, gradients), expected)
    cut = random.Random(seed + 1).randint(0, case.T)
    assert_same(found(pieces(cut), gradients), expected)
    if seed % 500 == 0:
        assert_same(found(compiled), found(whole))
    with torch.no_grad():
        rounded = copy.deepcopy(layer).float()
        narrow = found(Narrow(whole, rounded))
        gaps = {"": largest(narrow, {name: expected[name] for name in narrow})}
        if not case.lengths and case.index == "none":
            gaps[" in place"] = largest(found(Narrow(in_place, rounded)), narrow)
    for how, gap in gaps.items():
        if gap > CLOSE:
            if moved(case, layer):
                return "the same but for an address that rounding moved"
            return f"!float32{how} differs by {gap:.2g} in {case}"
    return "the same numbers"


def moved(case: Case, layer: RAMGRU) -> bool:
    """Whether a change of the input as small as float32's rounding moves the results as far in
    float64: two cells are then equally near to a key, or a gate is at its edge."""
    reference = everything(case, whole, False, layer)
    for salt in range(8):
        generator = torch.Generator().manual_seed(salt)
        shaken = _Shaken(generator)
        if largest(everything(case, shaken, False, layer), reference) > CLOSE / 4:
            return True
    return False


class _Shaken:
    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def __call__(self, layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Any) -> Result:
        noise = torch.randn(x.shape, generator=self.generator, dtype=x.dtype)
        return layer(x * (1 + 3e-7 * noise), state, **options)


def compiled(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    torch.compiler.reset()
    found: Result = torch.compile(layer, backend="aot_eager")(x, state, **options)
    return found
