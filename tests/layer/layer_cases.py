"""Small layers drawn from a few plain numbers, and every number that one computes, for comparison.

A case is small, so that hypothesis can shrink it and its text shows the cause of a failure.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ramgru import RAMGRU, Key, Lag, Learned, Memory, RAMGRUState, Tape
from ramgru.config import heads_text

Tensors = dict[str, Tensor]
Result = tuple[Tensor, RAMGRUState]
Run = Callable[[RAMGRU, Tensor, RAMGRUState, Tensors], Result]
CONTROLLERS = ("gru", "mingru", "diagonal")
# A head of every kind: keys of several steps, of former steps, and written where they are read.
MIXED = "key:2:write_after=2 learned:skip=1:write_after=1 lag:4 lag:3 tape tape"


@dataclass(frozen=True)
class Case:
    """B sequences, T steps, I inputs, C hidden units, L layers; W cells written, R read a step."""

    B: int = 2
    T: int = 5
    I: int = 3  # noqa: E741 - the field's letter
    C: int = 4
    L: int = 1
    heads: str = "key:write_after=2 key:write_after=0"
    N: int = 12
    W: int = 1
    R: int = 2
    width: int | None = None
    tag: int = 8
    controller: str = "gru"
    bias: bool = True
    bidirectional: bool = False
    learned_start: bool = False
    start: str = "fresh"  # "fresh", "compact" (after a prefix) or "dense" (random rows everywhere)
    lengths: bool = False
    reset: bool = False
    index: str = "none"  # explicit addresses: "none", "step", "head", "cells"
    seed: int = 0

    def generator(self, salt: int) -> torch.Generator:
        return torch.Generator().manual_seed(1000 * self.seed + salt)

    def normal(self, salt: int, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator(salt), dtype=torch.float64)

    def integers(self, salt: int, low: int, high: int, *shape: int) -> Tensor:
        return torch.randint(low, high, shape, generator=self.generator(salt))

    def layer(self) -> RAMGRU:
        memory = Memory(
            self.N, self.heads, self.width, self.tag, self.W, self.R, 0.5, self.learned_start
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            layer = RAMGRU(
                self.I,
                self.C,
                self.L,
                self.bias,
                batch_first=True,
                bidirectional=self.bidirectional,
                dtype=torch.float64,
                controller=self.controller,
                memory=memory,
            )
            with torch.no_grad():  # no parameter is zero or one only because it starts so
                for name, parameter in layer.named_parameters():
                    if name.endswith(("sharpness", "log_match", "null", "bias")):
                        parameter += 0.3 * torch.randn_like(parameter)
        return layer

    def input(self) -> Tensor:
        return self.normal(1, self.B, self.T, self.I)

    def options(self) -> Tensors:
        """lengths, reset and explicit addresses, as `forward` takes them."""
        found: Tensors = {}
        if self.lengths:
            found["lengths"] = self.integers(2, 0, self.T + 1, self.B)
        if self.reset:
            found["reset"] = self.integers(3, 0, 3, self.B, self.T) == 0
        if self.index != "none":
            H = len(self.heads.split())
            for n, name in enumerate(("write_index", "read_index")):
                more = {"step": (), "head": (H,), "cells": (H, 2 + n)}[self.index]
                # Few cells, so that several steps, or one step twice, address the same cell.
                found[name] = self.integers(4 + n, -1, min(4, self.N), self.B, self.T, *more)
        return found


def starting_state(case: Case, layer: RAMGRU, source: Tensor) -> RAMGRUState:
    """The state that a case starts from, a function of `source`, so that it has a gradient."""
    if case.start == "fresh":
        return layer.initial_state(case.B)
    if case.start == "dense":
        return layer.initial_state(1).from_tensor(source)
    return layer(source, layer.initial_state(case.B))[1]


def state_source(case: Case, layer: RAMGRU) -> Tensor:
    if case.start == "dense":
        return case.normal(6, len(layer.memories), case.B, layer.flat_size)
    return case.normal(6, case.B, 2, case.I)


def everything(
    case: Case, run: Run, gradients: bool = True, layer: RAMGRU | None = None
) -> Tensors:
    """Output, final state and the gradient of every leaf, by name; `layer` is the case's, if it has
    been built."""
    layer, x = layer or case.layer(), case.input().requires_grad_(gradients)
    source = state_source(case, layer).requires_grad_(gradients)
    output, state = run(layer, x, starting_state(case, layer, source), case.options())
    flat = state.to_tensor()
    found = {"output": output.detach(), "state": flat.detach()}
    if gradients:
        leaves = {"input": x, "start": source, **dict(layer.named_parameters())}
        loss = 0 * sum(leaf.sum() for leaf in leaves.values())  # a graph also without a step
        loss = loss + (output * case.normal(7, *output.shape)).sum()
        loss = loss + (flat * case.normal(8, *flat.shape)).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()), materialize_grads=True)
        found |= {f"gradient of {name}": g for name, g in zip(leaves, grads)}
    return found


def assert_same(actual: Tensors, expected: Tensors, tolerance: float = 1e-10) -> None:
    """Every number of `actual` is within tolerance of the expected one of the same name."""
    assert actual
    for name in actual:
        torch.testing.assert_close(
            actual[name],
            expected[name],
            rtol=tolerance,
            atol=tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


def whole(layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors) -> Result:
    return layer(x, state, **options)


options = {
    "steps": st.integers(1, 3),
    "skip": st.integers(0, 1),
    "write_after": st.integers(0, 2),
}
key_heads = st.builds(Key, **options) | st.builds(Learned, **options)
heads = st.lists(key_heads | st.just(Lag()) | st.just(Tape()), min_size=1, max_size=3)


@st.composite
def cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any small case; `fixed` are the fields that a test needs to have a certain value."""
    some = draw(heads)
    N = draw(st.sampled_from([2, 4, 12, 72] if Tape() in some else [1, 4, 12, 72]))
    options = {
        "B": draw(st.integers(1, 3)),
        "T": draw(st.integers(1, 6)),
        "C": draw(st.integers(1, 4)),
        "L": draw(st.integers(1, 2)),
        "heads": heads_text(some),
        "N": N,
        "W": draw(st.integers(1, min(N, 3))),
        "R": draw(st.integers(1, min(N, 3))),
        "width": draw(st.sampled_from([None, None, 3])),
        "tag": draw(st.sampled_from([0, 3, 8])),
        "controller": draw(st.sampled_from(CONTROLLERS)),
        "bias": draw(st.booleans()),
        "learned_start": draw(st.booleans()),
        "start": draw(st.sampled_from(["fresh", "compact", "dense"])),
        "lengths": draw(st.booleans()),
        "reset": draw(st.booleans()),
        "index": draw(st.sampled_from(["none", "none", "step", "head", "cells"])),
        "bidirectional": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }
    return Case(**{**options, **fixed})
