"""Mamba-2 against its formulas and against transformers."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import pad, silu, softplus

from ramgru.lab.peers import Mamba2

C = 6


def mamba2(heads: int, hidden_size: int | None = None) -> Mamba2:
    """Random values replace the weights that start at zero or one."""
    layer = Mamba2(C, hidden_size, heads=heads, d_state=3)
    with torch.no_grad():
        layer.convolution_bias.normal_()
        layer.skip.normal_()
        layer.norm.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_its_formulas(heads) -> None:
    layer = mamba2(heads, 8).double()
    x = torch.randn(1, 9, C, dtype=torch.float64)
    z, u, r = layer.project_in(x[0]).split([8, 8 + 3 + 3, heads], dim=1)
    u = pad(u, (0, 0, 3, 0))
    mixed = sum(layer.convolution.taps[o] * u[3 - o : 12 - o] for o in range(4))
    v, k, q = silu(mixed + layer.convolution_bias).split([8, 3, 3], dim=1)
    v, dt = v.view(9, heads, -1), softplus(r + layer.step_bias)
    y, _ = layer(x, None)
    S = torch.zeros(heads, 8 // heads, 3, dtype=torch.float64)
    for t in range(9):
        a = torch.exp(-layer.log_speed.exp() * dt[t])
        S = a[:, None, None] * S + dt[t][:, None, None] * v[t].unsqueeze(-1) * k[t]
        out = (S @ q[t] + layer.skip[:, None] * v[t]).flatten() * silu(z[t])
        expected = layer.project(layer.norm * out / (out.square().mean() + 1e-5).sqrt())
        torch.testing.assert_close(y[0, t], expected)


def test_width_is_expand_times_that_of_the_model() -> None:
    assert Mamba2(64).initial_state(2).memory.shape == (2, 4, 32, 64)
    assert Mamba2(64, heads=2, expand=3).initial_state(2).memory.shape == (2, 2, 96, 64)
    assert Mamba2(64, 50, d_state=8).initial_state(2).memory.shape == (2, 4, 13, 8)


def test_steps_and_speeds_begin_where_the_paper_lets_them() -> None:
    layer = Mamba2(C, 400, heads=400)
    speed, dt = layer.log_speed.exp(), softplus(layer.step_bias)
    assert 1 <= speed.min() < 1.5 < 15.5 < speed.max() <= 16
    assert 0.00099 < dt.min() < 0.0011 < 0.09 < dt.max() < 0.101
    assert 0.008 < dt.median() < 0.0125  # evenly on a log scale


def test_layer_is_that_of_transformers() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers", minversion="4.57")
        from transformers import Mamba2Config
        from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer
    config = Mamba2Config(
        hidden_size=C,
        num_heads=3,
        head_dim=4,
        state_size=3,
        n_groups=1,
        chunk_size=16,
        num_hidden_layers=1,
    )
    layer = mamba2(3)
    twin = Mamba2Mixer(config, 0).eval()
    with torch.no_grad():
        twin.in_proj.weight.copy_(layer.project_in.weight)
        twin.conv1d.weight.copy_(layer.convolution.taps.flip(0).T.unsqueeze(1))
        twin.conv1d.bias.copy_(layer.convolution_bias)
        twin.A_log.copy_(layer.log_speed)
        twin.dt_bias.copy_(layer.step_bias)
        twin.D.copy_(layer.skip)
        twin.norm.weight.copy_(layer.norm)
        twin.out_proj.weight.copy_(layer.project.weight)
        x = torch.randn(2, 70, C)
        torch.testing.assert_close(layer(x, None)[0], twin(x), rtol=1e-4, atol=1e-5)
