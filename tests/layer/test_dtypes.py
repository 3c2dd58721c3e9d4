"""Every dtype and device that `nn.GRU` runs on without an accelerator."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from layer_cases import MIXED
from torch import nn

from ramgru import RAMGRU, Memory

every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
MEMORY = Memory(cells=16, heads=MIXED, reads=2)
HALF = [torch.bfloat16, torch.float16]


@every_controller
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, *HALF], ids=str)
def test_dtype_in_is_dtype_out(controller: str, dtype: torch.dtype) -> None:
    layer = RAMGRU(3, 4, 2, bidirectional=True, controller=controller, dtype=dtype, memory=MEMORY)
    x = torch.randn(5, 2, 3, dtype=dtype, requires_grad=True)
    output, h_n = layer(x, lengths=torch.tensor([5, 3]))
    assert output.dtype == h_n.dtype == dtype
    (output.sum() + h_n.sum()).backward()
    assert x.grad is not None
    assert x.grad.dtype == dtype
    for name, parameter in layer.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.dtype == dtype
        assert parameter.grad.isfinite().all()


@every_controller
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_is_near_to_single(controller: str, dtype: torch.dtype) -> None:
    """The cells are float32 in any case; only inputs and outputs are rounded."""
    layer = RAMGRU(3, 4, controller=controller, dtype=dtype, memory=MEMORY)
    index = torch.randint(16, (6, 2), generator=torch.Generator().manual_seed(1))
    x = torch.randn(6, 2, 3, dtype=dtype)
    output, state = layer(x, layer.initial_state(2), write_index=index, read_index=index)
    assert state.hidden.dtype == state.memory[0].carried["key"].dtype == dtype
    assert state.memory[0].rows.dtype == torch.float32
    exact, _ = layer.float()(x.float(), write_index=index, read_index=index)
    torch.testing.assert_close(output.float(), exact, rtol=0, atol=0.06)


@every_controller
@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_half_precision_streams(controller: str, dtype: torch.dtype) -> None:
    layer = RAMGRU(3, 4, controller=controller, dtype=dtype, memory=MEMORY)
    x, state = torch.randn(3, 2, 3, dtype=dtype), layer.initial_state(2)
    for step in (layer.step, layer.step_, layer.step_):
        y, state = step(x[0], state)
        assert y.dtype == state.hidden.dtype == dtype
    back = layer.initial_state(1).from_tensor(state.to_tensor())
    assert back.hidden.dtype == dtype
    assert torch.equal(back.to_tensor(), state.to_tensor())


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
def test_autocast_gives_what_nn_gru_gives(bidirectional: bool) -> None:
    gru = nn.GRU(3, 4, 2, bidirectional=bidirectional)
    layer = RAMGRU.from_gru(gru, memory=MEMORY)
    x = torch.randn(5, 2, 3, requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        expected, result = gru(x), layer(x)
    for ours, theirs in zip(result, expected):
        assert ours.dtype == theirs.dtype
        assert torch.equal(ours, theirs)
    result[0].sum().backward()
    assert layer.memories[0].read_out.weight.grad is not None


@every_controller
def test_autocast_streams(controller: str) -> None:
    layer = RAMGRU(3, 4, 2, controller=controller, memory=MEMORY)
    x, state = torch.randn(5, 2, 3), layer.initial_state(2)
    exact, _ = layer(x, state)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        whole, after = layer(x, state)
        first, between = layer(x[:3], state)
        _, both = layer(x[3:], between)
        _, end = layer(x[3:], between, lengths=torch.tensor([2, 1]))
        layer.step_(x[0], end)
    assert whole.dtype == after.hidden.dtype == torch.float32  # as nn.GRU's
    torch.testing.assert_close(both.hidden, after.hidden)  # carried without rounding
    assert after.memory[0].rows.dtype == torch.float32
    # Addresses do not depend on autocast, so that the same cells are found with and without it.
    torch.testing.assert_close(whole.float(), exact, rtol=0, atol=0.1)
    torch.testing.assert_close(first.float(), exact[:3], rtol=0, atol=0.1)


@every_controller
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
def test_meta_device(controller: str, bidirectional: bool) -> None:
    layer = RAMGRU(
        3, 4, 2, bidirectional=bidirectional, controller=controller, device="meta", memory=MEMORY
    )
    x = torch.empty(5, 2, 3, device="meta", requires_grad=True)
    output, h_n = layer(x)
    D = 2 if bidirectional else 1
    assert output.is_meta
    assert output.shape == (5, 2, 4 * D)
    assert h_n.shape == (2 * D, 2, 4)
    output.sum().backward()
    assert x.grad is not None
    _, state = layer(x, layer.initial_state(2))
    assert state.hidden.is_meta
    with pytest.raises(ValueError, match="RNN input dtype"):
        layer(x.double())


def test_made_on_meta_and_filled_later() -> None:
    late, early = (
        RAMGRU(3, 4, device="meta", memory=MEMORY).to_empty(device="cpu"),
        RAMGRU(3, 4, memory=MEMORY),
    )
    for layer in (late, early):
        torch.manual_seed(4)
        layer.reset_parameters()
    x = torch.randn(5, 2, 3)
    assert torch.equal(late(x)[0], early(x)[0])


def test_to_changes_dtype() -> None:
    layer = RAMGRU(3, 4, memory=replace(MEMORY, learned_start=True))
    x = torch.randn(5, 2, 3)
    single, _ = layer(x)
    double, state = layer.to(torch.float64)(x.double(), layer.initial_state(2))
    assert double.dtype == state.memory[0].rows.dtype == torch.float64
    torch.testing.assert_close(double.float(), single, rtol=1e-4, atol=1e-5)


def test_a_step_in_place_in_half_precision_computes_as_any_other() -> None:
    layer = RAMGRU(3, 4, batch_first=True, memory=MEMORY).bfloat16()
    x = torch.randn(2, 5, 3).bfloat16()
    _, state = layer(x, layer.initial_state(2))
    narrow = state.detach().to(dtype=torch.bfloat16)
    y, expected = layer.step(x[:, 0], narrow)
    found, after = layer.step_(x[:, 0], narrow)
    assert after.memory[0].rows.dtype == torch.float32
    torch.testing.assert_close(found, y)
    torch.testing.assert_close(after.to_tensor(), expected.to_tensor())
