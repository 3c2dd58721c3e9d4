"""`explain` says what runs, and why something else does not."""

from __future__ import annotations

import pytest
import torch
from torch import nn

import ramgru
from ramgru import RAMGRU, Memory
from ramgru.kernels import native

HEADS = "key key:2 learned lag tape"
needs_library = pytest.mark.skipif(native.isa() == native.PORTABLE, reason="no native library")


def lines(layer: RAMGRU, *given: torch.Tensor) -> dict[str, str]:
    _, *rest = ramgru.explain(layer, *given).splitlines()
    return {part: text for part, text in (line.strip().split("  ", 1) for line in rest)}


def layer(**options: object) -> RAMGRU:
    return RAMGRU(4, 6, batch_first=True, memory=Memory(cells=16, heads=HEADS), **options)


@needs_library
@pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
def test_every_part_of_a_plain_layer_is_native(controller: str) -> None:
    made = layer(controller=controller).train()
    found = lines(made)
    assert len(found) == 11
    assert all(text.strip().startswith("native") for text in found.values())
    assert made.training
    assert ramgru.explain(made).startswith("RAMGRU on cpu, float32\n")


@needs_library
def test_reasons_are_told() -> None:
    pruned = layer()
    nn.utils.parametrizations.weight_norm(pruned.memories[0].candidate)
    assert "code of its own: Parametrized" in lines(pruned)["a step of `stream` and `step_`"]
    hooked = layer()
    hooked.memories[0].register_forward_hook(lambda *given: None)
    assert "hook" in lines(hooked)["a step of `stream` and `step_`"]
    both_ways = RAMGRU(4, 6, bidirectional=True)
    assert "bidirectional" in lines(both_ways)["a step of `stream` and `step_`"]
    half = lines(layer().half())
    assert all("float16" in text for part, text in half.items() if part.startswith("cells"))


def test_without_kernels() -> None:
    with native.use("portable"):
        found = lines(layer(), torch.zeros(2, 3, 4))
    assert not any(text.strip().startswith("native") for text in found.values())
    assert "portable" in found["cells: write and read"]


def test_only_a_layer_is_explained() -> None:
    with pytest.raises(TypeError, match="layer: expected a RAMGRU, got GRU"):
        ramgru.explain(nn.GRU(2, 3))  # type: ignore[arg-type]
