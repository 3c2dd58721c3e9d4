"""Gated slot attention against its formulas."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import pad, silu

from ramgru.lab.peers import GatedSlots

C = 6


@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_its_formulas(heads) -> None:
    layer = GatedSlots(C, 8, heads=heads, slots=3).double()
    with torch.no_grad():
        layer.norm.uniform_(0.5, 2)
    x, D = torch.randn(1, 9, C, dtype=torch.float64), 8 // heads
    projected = pad(layer.query_key_value(x)[0], (0, 0, 3, 0))
    mixed = silu(sum(layer.convolution.taps[o] * projected[3 - o : 12 - o] for o in range(4)))
    q, k, v = (z.view(9, heads, D) for z in mixed.chunk(3, dim=1))
    decay = (layer.decay(x[0]).sigmoid() ** (1 / 8)).view(9, heads, 3)
    y, _ = layer(x, None)
    slots = torch.zeros(2, heads, 3, D, dtype=torch.float64)
    for t in range(9):
        new = torch.stack([k[t], v[t]]).unsqueeze(2)
        slots = decay[t].unsqueeze(-1) * slots + (1 - decay[t]).unsqueeze(-1) * new
        read = [values.T @ (keys @ query).softmax(0) for keys, values, query in zip(*slots, q[t])]
        z = silu(torch.cat(read))
        expected = layer.project(layer.norm * z / (z.square().mean() + 1e-5).sqrt())
        torch.testing.assert_close(y[0, t], expected)


def test_state_has_a_key_and_a_value_for_each_slot() -> None:
    assert GatedSlots(64).initial_state(2).memory.shape == (2, 1, 64, 128)
    assert GatedSlots(64, heads=4, slots=16).initial_state(2).memory.shape == (2, 4, 16, 32)


def test_a_slot_without_input_keeps_92_percent_of_itself() -> None:
    layer = GatedSlots(C, slots=3).double()
    _, state = layer(torch.randn(2, 5, C, dtype=torch.float64), None)
    _, after = layer(torch.zeros(2, 4, C, dtype=torch.float64), state)
    _, last = layer(torch.zeros(2, 1, C, dtype=torch.float64), after)
    torch.testing.assert_close(last.memory, 0.5 ** (1 / 8) * after.memory)
