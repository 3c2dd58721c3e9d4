"""Time first, batch first or unbatched: the same numbers, also of the options of the memory."""

from __future__ import annotations

import doctest
from types import ModuleType
from typing import Any

import pytest
import torch
from layer_cases import MIXED
from torch import Tensor

import ramgru.config
import ramgru.layer
import ramgru.model
import ramgru.open_gates
import ramgru.stream
from ramgru import RAMGRU, Memory, RAMGRUState

every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
addresses = pytest.mark.parametrize("index", [(), (6,), (6, 3)], ids=str)


def make(**options: Any) -> RAMGRU:
    torch.manual_seed(0)
    memory = Memory(cells=16, heads=MIXED, reads=2, learned_start=True)
    return RAMGRU(3, 4, 2, dtype=torch.float64, memory=memory, **options)


def options_of(shape: tuple[int, ...], index: tuple[int, ...]) -> dict[str, Tensor]:
    return {
        "reset": torch.rand(shape) < 0.3,
        "write_index": torch.randint(-1, 16, (*shape, *index)),
        "read_index": torch.randint(-1, 16, (*shape, *index)),
    }


@every_controller
@addresses
def test_time_first_is_batch_first_transposed(controller: str, index: tuple[int, ...]) -> None:
    first, second = make(controller=controller, batch_first=True), make(controller=controller)
    x, options = torch.randn(2, 6, 3, dtype=torch.float64), options_of((2, 6), index)
    state, lengths = first.initial_state(2), torch.tensor([6, 4])
    output, after = first(x, state, lengths=lengths, **options)
    turned = {name: v.transpose(0, 1) for name, v in options.items()}
    output_t, after_t = second(x.transpose(0, 1), state, lengths=lengths, **turned)
    torch.testing.assert_close(output_t.transpose(0, 1), output, rtol=0, atol=1e-12)
    torch.testing.assert_close(after_t.to_tensor(), after.to_tensor(), rtol=0, atol=1e-12)


@every_controller
@pytest.mark.parametrize("batch_first", [False, True], ids=["time_first", "batch_first"])
@pytest.mark.parametrize("carry", ["hidden", "state", "flat"])
@addresses
def test_unbatched_is_a_batch_of_one(
    controller: str, batch_first: bool, carry: str, index: tuple[int, ...]
) -> None:
    layer = make(controller=controller, batch_first=batch_first, carry=carry)
    x, options = torch.randn(6, 3, dtype=torch.float64), options_of((6,), index)
    place = 0 if batch_first else 1
    of_one = {name: v.unsqueeze(place) for name, v in options.items()}
    for hx in (None, layer.initial_state(1)):
        output, after = layer(x, hx, **options)
        expected, expected_after = layer(x.unsqueeze(place), hx, **of_one)
        torch.testing.assert_close(output, expected.squeeze(place), rtol=0, atol=1e-12)
        if isinstance(after, RAMGRUState):  # a stream keeps its batch dimension
            assert after.batch_size == 1
            assert torch.equal(after.to_tensor(), expected_after.to_tensor())
        else:
            assert after.shape == (2, layer.hidden_size)
            torch.testing.assert_close(after, expected_after.squeeze(1), rtol=0, atol=1e-12)


@every_controller
def test_a_stream_may_begin_with_a_step(controller: str) -> None:
    layer = make(controller=controller)
    x = torch.randn(2, 3, dtype=torch.float64)
    output, state = layer.step(x)
    expected, expected_state = layer.step(x, layer.initial_state(2))
    assert torch.equal(output, expected)
    assert torch.equal(state.to_tensor(), expected_state.to_tensor())


def test_explicit_addresses_are_random_access_memory() -> None:
    """Written in one order and read in another, 50 steps later: the same values, exactly."""
    memory = Memory(cells=1024, heads=1, width=3)
    layer = RAMGRU(3, 4, batch_first=True, dtype=torch.float64, memory=memory)
    unit = layer.memories[0]
    torch.nn.init.constant_(unit.update_gate.bias, 800.0)  # the gate is 1
    torch.nn.init.zeros_(unit.update_gate.weight)
    values = torch.randn(1, 50, 3, dtype=torch.float64)
    where, order = torch.randperm(1024)[:50].view(1, 50), torch.randperm(50)
    x = torch.cat([values, torch.zeros_like(values)], dim=1)  # (1, 100, 3)
    none = torch.full((1, 50), -1)
    write = torch.cat([where, none], dim=1)[..., None, None]
    read = torch.cat([none, where[:, order]], dim=1)[..., None, None]
    state = unit.initial_state(1)
    steps = unit.steps(x, state.carried, None, None, write, read, False)
    found, _ = unit.scan(steps, state, None, None, False)
    assert torch.equal(found[0, 50:, 0, :3], unit.candidate(values)[0, order])
    assert not found[..., 3].any()  # cells that the caller names are read in full


@pytest.mark.parametrize(
    "module",
    [
        ramgru.config,
        ramgru.layer,
        ramgru.model,
        ramgru.open_gates,
        ramgru.stream,
    ],
    ids=lambda module: module.__name__,
)
def test_examples_in_docstrings(module: ModuleType) -> None:
    names = {name: getattr(ramgru, name) for name in ramgru.__all__}
    found = doctest.testmod(module, extraglobs={"torch": torch, **names})
    assert found.attempted > 0
    assert found.failed == 0
