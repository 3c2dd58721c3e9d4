"""Layers with the interface of torch.nn.GRU, or of a function of sequences, as peers."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ramgru.lab.peers.adapted import Adapted


class Growing(nn.Module):
    """y = mean of all steps so far; its state is all of them."""

    def forward(self, x, state=None):
        seen = x if state is None else torch.cat([state["seen"], x], dim=1)
        count = torch.arange(1, seen.shape[1] + 1).view(1, -1, 1)
        return (seen.cumsum(1) / count)[:, -x.shape[1] :], {"seen": seen}


def test_the_interface_of_nn_gru_and_lstm_is_enough():
    x = torch.randn(2, 9, 6)
    for kind, floats in ((nn.GRU, 6), (nn.LSTM, 12)):
        layer = Adapted(kind(6, 6, batch_first=True), 6)
        assert (layer.state_size, layer.state_growth) == (floats, 0)
        whole, _ = layer(x, layer.initial_state(2))
        torch.testing.assert_close(whole, layer.layer(x)[0])
        first, state = layer(x[:, :4], None)
        second, _ = layer(x[:, 4:], state.detach())
        torch.testing.assert_close(torch.cat([first, second], dim=1), whole)
        after = layer(x, None)[1].detach().value
        assert not any(t.requires_grad for t in (after if kind is nn.LSTM else [after]))


def test_a_state_that_grows_is_counted_so():
    layer = Adapted(Growing(), 6)
    assert (layer.state_size, layer.state_growth) == (0, 6)
    x = torch.randn(2, 5, 6)
    whole, _ = layer(x, None)
    first, state = layer(x[:, :2], None)
    torch.testing.assert_close(torch.cat([first, layer(x[:, 2:], state)[0]], dim=1), whole)


def test_a_function_of_sequences_carries_nothing():
    layer = Adapted(nn.Linear(6, 6), 6)
    assert layer.state_size == 0
    y, state = layer(torch.ones(2, 3, 6), None)
    assert state.value is None
    assert y.shape == (2, 3, 6)


def test_what_it_cannot_do_is_said():
    layer, x = Adapted(nn.GRU(6, 6, batch_first=True), 6), torch.zeros(1, 2, 6)
    with pytest.raises(ValueError, match="the forward of GRU does not take it"):
        layer(x, None, reset=torch.zeros(1, 2, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"Linear: expected an output .* got \(1, 2, 5\)"):
        Adapted(nn.Linear(6, 5), 6)(x, None)


def test_lengths_and_resets_are_handed_to_who_takes_them():
    class Asks(nn.Module):
        def forward(self, x, state=None, *, lengths=None, reset=None):
            self.got = lengths, reset
            return x, state

    layer, lengths = Adapted(Asks(), 2), torch.tensor([1])
    reset = torch.zeros(1, 2, dtype=torch.bool)
    layer(torch.zeros(1, 2, 2), None, lengths=lengths, reset=reset)
    assert layer.layer.got == (lengths, reset)
