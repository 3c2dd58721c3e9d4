"""GRU and LSTM against torch's, bit for bit; minGRU and LSTM against their equations."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ramgru.lab.peers import GRU, LSTM, MinGRU
from ramgru.lab.peers.recurrent import LSTMState

C = 6


def twins(hidden_size: int | None) -> tuple[LSTM, nn.LSTM]:
    """A peer and an nn.LSTM with the same weights."""
    layer, twin = LSTM(C, hidden_size), nn.LSTM(C, hidden_size or C, batch_first=True)
    own = {k: v for k, v in layer.state_dict().items() if not k.startswith("project")}
    twin.load_state_dict({f"{name}_l0": value for name, value in own.items()})
    return layer, twin


@pytest.mark.parametrize("hidden_size", [None, 9])
def test_lstm_is_torchs(hidden_size) -> None:
    layer, twin = twins(hidden_size)
    h, c = torch.randn(2, 1, 3, hidden_size or C)
    x = torch.randn(3, 5, C)
    y, state = layer(x, LSTMState(h, c))
    expected, (h_n, c_n) = twin(x, (h, c))
    assert torch.equal(y, layer.project(expected))
    assert torch.equal(state.hidden, h_n)
    assert torch.equal(state.cell, c_n)
    y.sum().backward()
    layer.project(expected).sum().backward()
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter.grad, getattr(layer, name.removesuffix("_l0")).grad)


def test_ragged_lstm_is_torchs_of_packed_sequences() -> None:
    layer, twin = twins(9)
    x, lengths = torch.randn(4, 7, C), torch.tensor([7, 5, 5, 1])
    y, state = layer(x, None, lengths=lengths)
    packed, (h_n, c_n) = twin(pack_padded_sequence(x, lengths, batch_first=True))
    expected, _ = pad_packed_sequence(packed, batch_first=True)
    assert torch.equal(y, layer.project(expected))
    assert torch.equal(state.hidden, h_n)
    assert torch.equal(state.cell, c_n)


def test_lstm_is_its_equations() -> None:
    layer = LSTM(C).double()
    x = torch.randn(3, 6, C, dtype=torch.float64)
    y, state = layer(x, None)
    h = c = torch.zeros(3, C, dtype=torch.float64)
    for t in range(6):
        gates = x[:, t] @ layer.weight_ih.T + layer.bias_ih + h @ layer.weight_hh.T + layer.bias_hh
        i, f, g, o = gates.chunk(4, dim=1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        torch.testing.assert_close(y[:, t], h)
    torch.testing.assert_close(state.cell[0], c)


def test_lstm_begins_as_torchs() -> None:
    """The same numbers from the same seed."""
    torch.manual_seed(3)
    layer = LSTM(C)
    torch.manual_seed(3)
    twin = nn.LSTM(C, C)
    for name, parameter in twin.named_parameters():
        assert torch.equal(parameter, getattr(layer, name.removesuffix("_l0")))


def test_gru_is_torchs() -> None:
    layer, twin = GRU(C), nn.GRU(C, C, batch_first=True)
    twin.load_state_dict({f"{name}_l0": value for name, value in layer.state_dict().items()})
    x, h = torch.randn(3, 5, C), torch.randn(1, 3, C)
    assert all(map(torch.equal, layer(x, h), twin(x, h)))


def test_mingru_is_its_equations() -> None:
    layer, h = MinGRU(C).double(), torch.zeros(3, C, dtype=torch.float64)
    x = torch.randn(3, 6, C, dtype=torch.float64)
    y, state = layer(x)
    for t in range(6):
        z, n = (x[:, t] @ layer.weight_ih.T + layer.bias_ih).chunk(2, dim=1)
        h = (1 - z.sigmoid()) * h + z.sigmoid() * n
        torch.testing.assert_close(y[:, t], h)
    torch.testing.assert_close(state[0], h)
