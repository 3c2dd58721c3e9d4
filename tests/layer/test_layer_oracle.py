"""The layer against an independent loop over its equations, in float64, with all gradients."""

from __future__ import annotations

from dataclasses import replace

import layer_oracle
import pytest
from hypothesis import given, settings
from layer_cases import CONTROLLERS, RULES, Case, Tensors, assert_same, cases, everything, whole
from torch import Tensor

from ramgru import RAMGRU, RAMGRUState


def by_the_book(
    layer: RAMGRU, x: Tensor, state: RAMGRUState, options: Tensors
) -> tuple[Tensor, RAMGRUState]:
    output, flat = layer_oracle.run(layer, x, state, **options)
    return output, layer.initial_state(1).from_tensor(flat)


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("parts", [1, 2, 3, 4])
def test_every_cell_scored(controller: str, rule: str, parts: int) -> None:
    case = Case(T=7, N=16, K=3, parts=parts, controller=controller, rule=rule, start="compact")
    assert_same(everything(case, whole), everything(case, by_the_book))


@pytest.mark.parametrize("controller", CONTROLLERS)
def test_all_at_once(controller: str) -> None:
    case = Case(
        T=6,
        L=2,
        controller=controller,
        bidirectional=True,
        spans=(2, 1),
        skips=(0, 1),
        gate="cell",
        gate_range=(-0.1, 1.1),
        learn_context=True,
        learn_initial=True,
        start="dense",
        lengths=True,
        reset=True,
    )
    assert_same(everything(case, whole), everything(case, by_the_book))


@given(case=cases())
@settings(max_examples=25)
def test_any_layer(case: Case) -> None:
    case = replace(case, N=min(case.N, 12), T=min(case.T, 4))
    assert_same(everything(case, whole), everything(case, by_the_book))
