"""The layer against an independent loop over its equations, in float64, with all gradients."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from layer_cases import CONTROLLERS, MIXED, Case, assert_same, cases, everything
from layer_cases import whole as layer_itself
from layer_oracle import oracle


@pytest.mark.parametrize(("cells", "codebooks"), [(16, 1), (72, 2), (4160, 3)])
def test_every_cell_scored(cells: int, codebooks: int) -> None:
    case = Case(T=7, N=cells, W=2, R=3, start="compact", learned_start=True)
    assert len(case.layer().memories[0].heads["key"].sizes) == codebooks
    assert_same(everything(case, layer_itself), everything(case, oracle))


@pytest.mark.parametrize("controller", CONTROLLERS)
@pytest.mark.parametrize(
    "heads",
    [MIXED, "tape", "lag", "key:3:skip=1:write_after=2", "learned learned:2"],
    ids=["mixed", "tape", "lag", "key", "learned"],
)
def test_all_options_at_once(controller: str, heads: str) -> None:
    case = Case(
        T=6,
        L=2,
        heads=heads,
        width=2,
        controller=controller,
        bidirectional=True,
        learned_start=True,
        start="dense",
        lengths=True,
        reset=True,
    )
    assert_same(everything(case, layer_itself), everything(case, oracle))


@given(case=cases())
@settings(max_examples=25)
def test_any_layer(case: Case) -> None:
    case = replace(case, T=min(case.T, 4))
    assert_same(everything(case, layer_itself), everything(case, oracle))
