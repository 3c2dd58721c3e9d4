"""Attention through a window: beside torch's own with a mask, what it costs and what it keeps."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ramgru.lab.peers import Attention, WindowAttention

C = 8


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("window", "steps"), [(1, 5), (4, 3), (4, 4), (4, 8), (5, 33), (64, 70)])
def test_window_attention_is_torchs_with_a_mask(window, steps, heads) -> None:
    """With a convolution that sees only the step itself."""
    layer = WindowAttention(C, heads=heads, window=window).double()
    twin = nn.MultiheadAttention(C, heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        layer.convolution.taps.zero_()[0] = 1
        twin.in_proj_weight.copy_(layer.query_key_value.weight)
        twin.out_proj.weight.copy_(layer.project.weight)
    x = torch.randn(3, steps, C, dtype=torch.float64)
    every = torch.ones(steps, steps, dtype=torch.bool)
    hidden = every.triu(1) | every.tril(-window)
    expected, _ = twin(x, x, x, attn_mask=hidden, need_weights=False)
    torch.testing.assert_close(layer(x, None)[0], expected)


@pytest.mark.parametrize("positions", ["none", "rope"])
def test_a_window_as_long_as_the_sequence_is_full_attention(positions) -> None:
    layer = WindowAttention(C, 10, heads=2, window=40, positions=positions).double()
    full = Attention(C, 10, heads=2, positions=positions).double()
    full.load_state_dict(layer.state_dict())
    x, reset = torch.randn(2, 40, C, dtype=torch.float64), torch.rand(2, 40) < 0.1
    lengths = torch.tensor([40, 23])
    found, state = layer(x, None, lengths=lengths, reset=reset)
    expected, _ = full(x, None, lengths=lengths, reset=reset)
    torch.testing.assert_close(found, expected)
    assert state.length.tolist() == full(x, None, lengths=lengths, reset=reset)[1].length.tolist()


def test_what_left_the_window_has_no_influence() -> None:
    """Three steps farther back than the window there is the convolution's reach."""
    layer, x = WindowAttention(C, window=6), torch.randn(1, 30, C)
    expected, state = layer(x, None)
    x[:, : 30 - 6 - 3] = torch.randn(1, 21, C)
    changed, after = layer(x, None)
    assert torch.equal(changed[:, -1], expected[:, -1])
    assert torch.equal(after.keys, state.keys)
    x[:, 30 - 6 - 3] += 1
    assert not torch.equal(layer(x, None)[0][:, -1], expected[:, -1])


def test_cost_grows_with_time_alone() -> None:
    def products(layer: nn.Module, steps: int) -> int:
        counter = FlopCounterMode(display=False)  # it sees plain products, no fused attention
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            layer(torch.randn(1, steps, C), None)
        return counter.get_total_flops()

    window, full = WindowAttention(C, window=16), Attention(C)
    assert products(window, 1024) == 2 * products(window, 512)
    assert products(full, 1024) > 3 * products(full, 512)
    assert products(window, 512) < products(full, 512)


def test_state_keeps_its_size() -> None:
    layer = WindowAttention(C, window=16)
    _, state = layer(torch.randn(2, 100, C), None)
    assert state.keys.shape == state.values.shape == (2, 1, 15, C)
    assert state.length.tolist() == [100, 100]
    assert layer.state_size == 2 * 15 * C + 3 * 3 * C
