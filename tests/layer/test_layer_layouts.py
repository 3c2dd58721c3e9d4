"""Time first, batch first or unbatched: the same numbers, also of everything nn.GRU has not."""

from __future__ import annotations

import doctest
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

import ramgru.keys
import ramgru.layer
import ramgru.sequence
from ramgru import RAMGRU

both_ways = pytest.mark.parametrize("controller", ["gru", "mingru"])
H, K = 2, 3


def make(**options: Any) -> RAMGRU:
    torch.manual_seed(0)
    made = {"memory_size": 16, "num_heads": H, "top_k": 2, "learn_initial": True, **options}
    return RAMGRU(3, 4, 2, dtype=torch.float64, **made)


def options_of(shape: tuple[int, ...], index: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        "reset": torch.rand(shape) < 0.3,
        "write_index": torch.randint(-1, 16, (*shape, *index)),
        "read_index": torch.randint(-1, 16, (*shape, *index)),
    }


@both_ways
@pytest.mark.parametrize("index", [(), (H,), (H, K)], ids=str)
def test_time_first_is_batch_first_transposed(controller: str, index: tuple[int, ...]) -> None:
    first, second = make(controller=controller, batch_first=True), make(controller=controller)
    x, options = torch.randn(2, 6, 3, dtype=torch.float64), options_of((2, 6), index)
    state, lengths = first.initial_state(2), torch.tensor([6, 4])
    output, after = first(x, state, lengths=lengths, **options)
    turned = {name: v.transpose(0, 1) for name, v in options.items()}
    output_t, after_t = second(x.transpose(0, 1), state, lengths=lengths, **turned)
    torch.testing.assert_close(output_t.transpose(0, 1), output, rtol=0, atol=1e-12)
    torch.testing.assert_close(after_t.to_tensor(), after.to_tensor(), rtol=0, atol=1e-12)


@both_ways
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("index", [(), (H,), (H, K)], ids=str)
def test_unbatched_is_a_batch_of_one(
    controller: str, batch_first: bool, index: tuple[int, ...]
) -> None:
    layer = make(controller=controller, batch_first=batch_first)
    x, options = torch.randn(6, 3, dtype=torch.float64), options_of((6,), index)
    place = 0 if batch_first else 1
    of_one = {name: v.unsqueeze(place) for name, v in options.items()}
    for hx in (None, layer.initial_state(1)):
        output, after = layer(x, hx, **options)
        expected, expected_after = layer(x.unsqueeze(place), hx, **of_one)
        torch.testing.assert_close(output, expected.squeeze(place), rtol=0, atol=1e-12)
        if hx is None:
            assert after.shape == (2, 4)
            torch.testing.assert_close(after, expected_after.squeeze(1), rtol=0, atol=1e-12)
        else:  # a stream keeps its batch dimension
            assert after.batch_size == 1
            assert torch.equal(after.to_tensor(), expected_after.to_tensor())


@both_ways
def test_a_stream_may_begin_with_a_step(controller: str) -> None:
    layer = make(controller=controller)
    x = torch.randn(2, 3, dtype=torch.float64)
    output, state = layer.step(x)
    expected, expected_state = layer.step(x, layer.initial_state(2))
    assert torch.equal(output, expected)
    assert torch.equal(state.to_tensor(), expected_state.to_tensor())


def test_explicit_addresses_are_random_access_memory() -> None:
    """Written in one order, read in another, long after: what was written, exactly."""
    layer = make(controller="mingru", num_heads=1, head_size=3, memory_size=1024)
    unit = layer.memories[0]
    torch.nn.init.constant_(unit.update_gate.bias, 800.0)  # the gate is 1
    torch.nn.init.zeros_(unit.update_gate.weight)
    values = torch.randn(1, 50, 3, dtype=torch.float64)
    where = torch.randperm(1024)[:50].view(1, 50)
    order = torch.randperm(50)
    x = torch.cat([values, torch.zeros_like(values)], dim=1)  # (1, 100, 3)
    none = torch.full((1, 50), -1)
    write = torch.cat([where, none], dim=1)
    read = torch.cat([none, where[:, order]], dim=1)
    steps = unit.steps(
        x, torch.zeros(1, 3, 3, dtype=torch.float64), None, None, None,
        write[..., None, None], read[..., None, None],
    )  # fmt: skip
    found, _ = unit.scan(steps, None, None, None, False)
    assert torch.equal(found[0, 50:, 0], unit.candidate(values)[0, order])


@pytest.mark.parametrize(
    "module", [ramgru.layer, ramgru.keys, ramgru.sequence], ids=lambda m: m.__name__
)
def test_examples_in_docstrings(module: ModuleType) -> None:
    found = doctest.testmod(module, extraglobs={"torch": torch})
    assert found.attempted > 0
    assert found.failed == 0
