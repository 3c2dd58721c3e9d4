"""DeltaNet: its memory as a product of matrices, its layer beside the formulas."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, normalize, pad, silu

from ramgru.lab.peers import DeltaNet, GatedDeltaNet

C = 6


def parts(layer: DeltaNet, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x (T, C) -> q, k (T, heads, D), v (T, heads, E), b (T, heads), by torch's own functions."""
    projected = x @ layer.query_key_value.weight.T
    taps = layer.convolution.taps.flip(0).T.unsqueeze(1)
    mixed = silu(conv1d(pad(projected.T, (3, 0)), taps, groups=len(taps)).T)
    q, k, v = (z.unflatten(1, (layer.heads, -1)) for z in mixed.split(layer.widths, dim=1))
    return normalize(q, dim=2), normalize(k, dim=2), v, (x @ layer.rate.weight.T).sigmoid()


@pytest.mark.parametrize("steps", [1, 9, 64, 100])
@pytest.mark.parametrize("heads", [1, 2])
def test_memory_is_a_sum_of_products_of_matrices(heads, steps) -> None:
    """S[T] = sum_s (I - b[T] k[T] k[T]^T) … (I - b[s+1] k[s+1] k[s+1]^T) b[s] k[s] v[s]^T

    (arXiv 2406.06484, §3.1), every product made from its factors.
    """
    layer = DeltaNet(C, 8, heads=heads, value_size=3).double()
    x = torch.randn(1, steps, C, dtype=torch.float64)
    y, state = layer(x, None)
    q, k, v, b = parts(layer, x[0])
    D, read = 8 // heads, []
    for h in range(heads):
        S = torch.zeros(D, 3, dtype=torch.float64)
        for s in range(steps):
            later = [
                torch.eye(D) - b[t, h] * torch.outer(k[t, h], k[t, h]) for t in range(s + 1, steps)
            ]
            product = torch.eye(D, dtype=torch.float64)
            for factor in later:
                product = factor @ product
            S = S + product @ (b[s, h] * torch.outer(k[s, h], v[s, h]))
        torch.testing.assert_close(state.memory[0, h], S, rtol=0, atol=2e-5)
        found = S.T @ q[-1, h] / D**0.5
        read.append(layer.norm * found / (found.square().mean() + 1e-6).sqrt())
    expected = layer.project(torch.cat(read))
    torch.testing.assert_close(y[0, -1], expected, rtol=1e-4, atol=2e-5)


def test_it_is_a_gated_deltanet_that_does_not_forget() -> None:
    """Whose output gate is open: SiLU(1.278…) = 1."""
    layer, twin = DeltaNet(C, heads=2).double(), GatedDeltaNet(C, heads=2).double()
    x = torch.randn(2, 70, C, dtype=torch.float64)
    x[..., 0] = 1.0
    with torch.no_grad():
        for name in ("query_key_value.weight", "convolution.taps", "norm", "project.weight"):
            twin.get_parameter(name).copy_(layer.get_parameter(name))
        twin.decay_and_rate.weight[2:] = layer.rate.weight
        twin.log_speed.fill_(-torch.inf)
        twin.gate.weight.zero_()[:, 0] = 1.2784645427610738
    y, state = layer(x, None)
    expected, after = twin(x, None)
    torch.testing.assert_close(y, expected)
    torch.testing.assert_close(state.memory, after.memory)


def test_a_key_written_with_full_rate_reads_back_its_last_value() -> None:
    """What a sum of outer products, linear attention, does not give: the old value is taken out."""
    layer = DeltaNet(C, 4).double()
    with torch.no_grad():
        layer.rate.weight.zero_()[:, 0] = 100.0
    x = torch.randn(1, 12, C, dtype=torch.float64)
    x[..., 0] = 1.0
    _, state = layer(x, None)
    _, k, v, _ = parts(layer, x[0])
    torch.testing.assert_close(state.memory[0, 0].T @ k[-1, 0], v[-1, 0], rtol=0, atol=2e-5)


def test_a_step_is_a_sequence_of_one() -> None:
    layer = DeltaNet(C, heads=2).double()
    x = torch.randn(3, 8, C, dtype=torch.float64)
    expected, after = layer(x, None)
    state = layer.initial_state(3)
    for t in range(8):
        y, state = layer.step(x[:, t], state)
        torch.testing.assert_close(y, expected[:, t], rtol=0, atol=1e-12)
    torch.testing.assert_close(state.memory, after.memory, rtol=0, atol=1e-12)
