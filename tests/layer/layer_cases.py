"""Small layers drawn from a few plain numbers, and everything that comes out of one, to compare.

A case is small, so that hypothesis can shrink it and its text tells what went wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ramgru import RAMGRU, RAMGRUState

Tensors = dict[str, Tensor]
Run = Callable[[RAMGRU, Tensor, RAMGRUState, Tensors], tuple[Tensor, RAMGRUState]]
CONTROLLERS, RULES = ("gru", "mingru"), ("gru", "delta")


@dataclass(frozen=True)
class Case:
    """B sequences of T steps, I inputs, C hidden units, L layers, H heads, N cells, K a step."""

    B: int = 2
    T: int = 5
    I: int = 3  # noqa: E741 - the field's letter
    C: int = 4
    L: int = 1
    H: int = 2
    N: int = 12
    K: int = 2
    parts: int = 2
    offset: int = 2  # of the first head; the second writes where it reads
    skips: tuple[int, ...] = (0,)
    spans: tuple[int, ...] = (1,)
    window: int | None = None
    tape: int = 0  # of the H heads
    gate: str = "scalar"
    gate_range: tuple[float, float] = (0.0, 1.0)
    controller: str = "gru"
    rule: str = "gru"
    bias: bool = True
    bidirectional: bool = False
    learn_address: bool = True
    learn_context: bool = False
    learn_initial: bool = False
    tanh: bool = False
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
                memory_size=self.N,
                num_heads=self.H,
                top_k=self.K,
                write_rule=self.rule,
                parts=self.parts,
                address_size=4,
                offsets=(self.offset, 0),
                skips=self.skips,
                spans=self.spans,
                window=self.window,
                tape_heads=self.tape,
                gate=self.gate,
                gate_range=self.gate_range,
                learn_address=self.learn_address,
                learn_context=self.learn_context,
                learn_initial=self.learn_initial,
                candidate_activation="tanh" if self.tanh else "identity",
            )
            with torch.no_grad():  # let nothing be zero or one only because it starts so
                for name, parameter in layer.named_parameters():
                    if "taps" in name or "sharpness" in name or name.endswith("bias"):
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
            more = {"step": (), "head": (self.H,), "cells": (self.H, self.K)}[self.index]
            for salt, name in ((4, "write_index"), (5, "read_index")):
                # Few cells, so that steps meet, also twice in one step.
                found[name] = self.integers(salt, -1, min(4, self.N), self.B, self.T, *more)
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
        return case.normal(6, case.B, layer.state_size)
    return case.normal(6, case.B, 2, case.I)


def everything(case: Case, run: Run, gradients: bool = True) -> Tensors:
    """Output, final state and the gradient of everything that has one, by name."""
    layer, x = case.layer(), case.input().requires_grad_(gradients)
    source = state_source(case, layer).requires_grad_(gradients)
    options = case.options()
    output, state = run(layer, x, starting_state(case, layer, source), options)
    flat = state.to_tensor()
    found = {"output": output.detach(), "state": flat.detach()}
    if gradients:
        leaves = {"input": x, "start": source, **dict(layer.named_parameters())}
        loss = 0 * sum(leaf.sum() for leaf in leaves.values())  # where there is not one step
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


def whole(
    layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors
) -> tuple[Tensor, RAMGRUState]:
    return layer(x, state, **options)


@st.composite
def cases(draw: st.DrawFn, **fixed: Any) -> Case:
    """Any small case; `fixed` holds what a test needs to be so."""
    N = draw(st.sampled_from([1, 4, 12, 30]))
    options = {
        "B": draw(st.integers(1, 3)),
        "T": draw(st.integers(1, 6)),
        "C": draw(st.integers(1, 4)),
        "L": draw(st.integers(1, 2)),
        "H": (H := draw(st.integers(1, 3))),
        "N": N,
        "K": (K := draw(st.integers(1, min(N, 3)))),
        "parts": draw(st.integers(1, 3)) if N != 30 else 2,
        "offset": draw(st.integers(0, 2)),
        "skips": draw(st.sampled_from([(0,), (0,), (1, 0)])),
        "spans": draw(st.sampled_from([(1,), (1,), (1, 2), (3, 1, 2)])),
        "window": draw(st.sampled_from([None, 7])),
        "tape": draw(st.integers(0, H - 1)) if K > 1 else 0,
        "gate": draw(st.sampled_from(["scalar", "scalar", "cell"])),
        "gate_range": draw(st.sampled_from([(0.0, 1.0), (-0.2, 1.2)])),
        "controller": draw(st.sampled_from(CONTROLLERS)),
        "rule": draw(st.sampled_from(RULES)),
        "bias": draw(st.booleans()),
        "learn_address": draw(st.booleans()),
        "learn_context": draw(st.booleans()),
        "learn_initial": draw(st.booleans()),
        "tanh": draw(st.booleans()),
        "start": draw(st.sampled_from(["fresh", "compact", "dense"])),
        "lengths": draw(st.booleans()),
        "reset": draw(st.booleans()),
        "index": draw(st.sampled_from(["none", "none", "step", "head", "cells"])),
        "bidirectional": draw(st.booleans()),
        "seed": draw(st.integers(0, 99)),
    }
    return Case(**{**options, **fixed})
