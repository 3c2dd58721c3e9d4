"""Full and window attention against torch's, rotary positions, and the memory and time used."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

from ramgru.lab.peers import Attention, WindowAttention, attention
from ramgru.lab.peers.attention import rotate

C = 8


def beside_torch(layer: Attention | WindowAttention, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """The layer's outputs, with an identity convolution, and those of torch's masked attention."""
    layer.double()
    twin = nn.MultiheadAttention(C, layer.heads, bias=False, batch_first=True).double()
    with torch.no_grad():
        layer.convolution.taps.zero_()[0] = 1
        twin.in_proj_weight.copy_(layer.query_key_value.weight)
        twin.out_proj.weight.copy_(layer.project.weight)
    x = torch.randn(3, len(hidden), C, dtype=torch.float64)
    return layer(x, None)[0], twin(x, x, x, attn_mask=hidden, need_weights=False)[0]


@pytest.mark.parametrize("heads", [1, 2, 4])
def test_attention_is_torchs(heads) -> None:
    future = torch.ones(11, 11, dtype=torch.bool).triu(1)
    torch.testing.assert_close(*beside_torch(Attention(C, heads=heads), future))


@pytest.mark.parametrize("heads", [1, 2])
@pytest.mark.parametrize(("window", "steps"), [(1, 5), (4, 3), (4, 4), (4, 8), (5, 33), (64, 70)])
def test_window_attention_is_torchs_with_a_mask(window, steps, heads) -> None:
    every = torch.ones(steps, steps, dtype=torch.bool)
    hidden = every.triu(1) | every.tril(-window)
    torch.testing.assert_close(
        *beside_torch(WindowAttention(C, heads=heads, window=window), hidden)
    )


def test_the_convolution_lets_a_step_see_its_neighbours() -> None:
    """q, k and v are those of nn.Conv1d over the projected steps."""
    layer = Attention(C).double()
    x = torch.randn(2, 7, C, dtype=torch.float64)
    taps = layer.convolution.taps.flip(0).T.unsqueeze(1)
    padded = nn.functional.pad(layer.query_key_value(x).mT, (3, 0))
    q, k, v = nn.functional.conv1d(padded, taps, groups=3 * C).mT.chunk(3, dim=-1)
    scores = (q @ k.mT / C**0.5).masked_fill(torch.ones(7, 7).triu(1).bool(), -torch.inf)
    expected = layer.project(scores.softmax(-1) @ v)
    torch.testing.assert_close(layer(x, None)[0], expected)


def test_places_turn_pairs_of_channels() -> None:
    """As complex numbers: (a + ib) e^(i place rate). With an odd width the last channel stays."""
    x, place = torch.randn(1, 2, 5, 7, dtype=torch.float64), torch.tensor([[0, 1, 2, 30, 4000]])
    turned = rotate(x, place)
    rate = torch.tensor([10_000.0 ** (-i / 3) for i in range(3)], dtype=torch.float64)
    turn = torch.exp(1j * place[0, :, None] * rate)
    pairs = torch.complex(x[..., :3], x[..., 3:6]) * turn
    expected = torch.cat([pairs.real, pairs.imag, x[..., 6:]], dim=-1)
    torch.testing.assert_close(turned, expected)


def test_only_the_distance_of_places_counts() -> None:
    layer = Attention(C, positions="rope").double()
    x = torch.randn(2, 6, C, dtype=torch.float64)
    q, k = torch.randn(2, 1, 1, 5, C, dtype=torch.float64)
    places = torch.arange(5).unsqueeze(0)
    one, other = (rotate(q, places + by) @ rotate(k, places + by).mT for by in (0, 37))
    torch.testing.assert_close(one, other)
    plain = Attention(C).double()
    plain.load_state_dict(layer.state_dict())
    assert not torch.allclose(layer(x, None)[0], plain(x, None)[0])


class Largest(TorchDispatchMode):
    """The size of the largest tensor created in the context."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for x in out if isinstance(out, tuple | list) else (out,):
            if isinstance(x, Tensor):
                self.numbers = max(self.numbers, x.untyped_storage().nbytes() // x.itemsize)
        return out


@pytest.mark.parametrize("how", ["whole", "reset", "carried"])
def test_no_tensor_is_quadratic_in_time(how, monkeypatch) -> None:
    monkeypatch.setattr(attention, "MASKED", 2**16)
    T = 4096
    layer, x = Attention(C), torch.randn(1, T, C)
    reset = torch.zeros(1, T, dtype=torch.bool)
    reset[:, T // 2] = True
    with torch.no_grad():
        _, state = layer(x[:, :1], None)
        with Largest() as largest:
            layer(x, state if how == "carried" else None, reset=reset if how == "reset" else None)
    assert 3 * C * T <= largest.numbers < 2**18 < T * T // 32


def test_blocks_of_queries_give_the_same(monkeypatch) -> None:
    layer, x = Attention(C, heads=2).double(), torch.randn(2, 50, C, dtype=torch.float64)
    reset = torch.rand(2, 50) < 0.1
    expected, _ = layer(x, None, reset=reset)
    monkeypatch.setattr(attention, "MASKED", 700)  # seven queries at a time
    torch.testing.assert_close(layer(x, None, reset=reset)[0], expected)


def test_what_lies_behind_a_reset_is_not_kept() -> None:
    layer, x = Attention(C), torch.randn(3, 10, C)
    reset = torch.zeros(3, 10, dtype=torch.bool)
    reset[0, 7] = reset[1, 9] = reset[2, 6] = True
    _, state = layer(x, None, reset=reset, lengths=torch.tensor([10, 10, 8]))
    assert state.length.tolist() == [3, 1, 2]
    assert state.keys.shape == state.values.shape == (3, 1, 3, C)
    assert not state.keys[1, :, 1:].any()


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
    """The convolution reaches three steps farther back than the window."""
    layer, x = WindowAttention(C, window=6), torch.randn(1, 30, C)
    expected, state = layer(x, None)
    x[:, : 30 - 6 - 3] = torch.randn(1, 21, C)
    changed, after = layer(x, None)
    assert torch.equal(changed[:, -1], expected[:, -1])
    assert torch.equal(after.keys, state.keys)
    x[:, 30 - 6 - 3] += 1
    assert not torch.equal(layer(x, None)[0][:, -1], expected[:, -1])


def test_window_attentions_cost_grows_with_time_alone() -> None:
    def products(layer: nn.Module, steps: int) -> int:
        counter = FlopCounterMode(display=False)  # it sees plain products, no fused attention
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
            layer(torch.randn(1, steps, C), None)
        return counter.get_total_flops()

    window, full = WindowAttention(C, window=16), Attention(C)
    assert products(window, 1024) == 2 * products(window, 512)
    assert products(full, 1024) > 3 * products(full, 512)
    assert products(window, 512) < products(full, 512)


def test_window_attentions_state_keeps_its_size() -> None:
    layer = WindowAttention(C, window=16)
    _, state = layer(torch.randn(2, 100, C), None)
    assert state.keys.shape == state.values.shape == (2, 1, 15, C)
    assert state.length.tolist() == [100, 100]
    assert layer.state_size == 2 * 15 * C + 3 * 3 * C
