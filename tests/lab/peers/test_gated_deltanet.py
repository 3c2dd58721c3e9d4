"""The layer around the rule: beside its formulas, step by step, and beside Qwen3-Next's."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.functional import normalize, silu, softplus

from ramgru.lab.peers import GatedDeltaNet

C = 6


@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_its_formulas(heads) -> None:
    layer = GatedDeltaNet(C, 8, heads=heads, value_size=3).double()
    x, D = torch.randn(1, 9, C, dtype=torch.float64), 8 // heads
    projected = torch.nn.functional.pad(layer.query_key_value(x)[0], (0, 0, 3, 0))
    mixed = silu(sum(layer.convolution.taps[o] * projected[3 - o : 12 - o] for o in range(4)))
    q, k, v = (z.view(9, heads, -1) for z in mixed.split([8, 8, 3 * heads], dim=1))
    decay, rate = layer.decay_and_rate(x[0]).view(9, 2, heads).unbind(1)
    gate = silu(layer.gate(x[0])).view(9, heads, 3)
    memory = torch.zeros(heads, D, 3, dtype=torch.float64)
    for t in range(9):
        outputs = []
        for h in range(heads):
            a = torch.exp(-layer.log_speed[h].exp() * softplus(decay[t, h] + layer.decay_bias[h]))
            b, key = rate[t, h].sigmoid(), normalize(k[t, h], dim=0)
            S = a * memory[h]
            S = S - b * torch.outer(key, key) @ S + b * torch.outer(key, v[t, h])
            memory = torch.cat([memory[:h], S[None], memory[h + 1 :]])
            y = S.T @ normalize(q[t, h], dim=0) / D**0.5
            outputs.append(layer.norm * y / (y.square().mean() + 1e-6).sqrt() * gate[t, h])
        expected = layer.project(torch.cat(outputs))
        torch.testing.assert_close(
            layer(x[:, : t + 1], None)[0][0, t], expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("donate", [False, True])
def test_a_step_is_a_sequence_of_one(donate) -> None:
    layer = GatedDeltaNet(C, heads=2).double()
    x = torch.randn(3, 8, C, dtype=torch.float64)
    expected, after = layer(x, None)
    state = layer.initial_state(3)
    for t in range(8):
        y, state = layer.step(x[:, t], state, donate=donate)
        torch.testing.assert_close(y, expected[:, t], rtol=0, atol=1e-12)
    torch.testing.assert_close(state.memory, after.memory, rtol=0, atol=1e-12)
    torch.testing.assert_close(state.context, after.context, rtol=0, atol=1e-12)


def test_a_layer_of_64_channels_has_a_memory_of_64_by_64() -> None:
    state = GatedDeltaNet(64).initial_state(2)
    assert state.memory.shape == (2, 1, 64, 64)
    state = GatedDeltaNet(64, heads=4, value_size=32).initial_state(2)
    assert state.memory.shape == (2, 4, 16, 32)


def test_decays_begin_slow() -> None:
    """Where nothing comes in, a step keeps between 90 and 99.9 % of what a head holds."""
    layer = GatedDeltaNet(C, heads=200)
    kept = torch.exp(-layer.log_speed.exp() * softplus(layer.decay_bias))
    assert 0.904 < kept.min() < 0.92
    assert 0.998 < kept.max() < 0.9991


def test_layer_is_that_of_transformers() -> None:
    """Qwen3-Next's, with our weights in its order of rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers", minversion="4.57")
        from transformers import Qwen3NextConfig
        from transformers.models.qwen3_next.modeling_qwen3_next import Qwen3NextGatedDeltaNet
    heads, D, E = 2, 4, 3
    config = Qwen3NextConfig(
        hidden_size=C,
        linear_num_key_heads=heads,
        linear_num_value_heads=heads,
        linear_key_head_dim=D,
        linear_value_head_dim=E,
        linear_conv_kernel_dim=4,
        num_hidden_layers=1,
        layer_types=["linear_attention"],
    )
    layer, twin = (
        GatedDeltaNet(C, heads * D, heads=heads, value_size=E),
        Qwen3NextGatedDeltaNet(config, 0),
    )
    with torch.no_grad():
        q, k, v = layer.query_key_value.weight.split(layer.widths)
        parts = [w.view(heads, -1, C) for w in (q, k, v, layer.gate.weight)]
        twin.in_proj_qkvz.weight.copy_(torch.cat(parts, dim=1).flatten(0, 1))
        a, b = layer.decay_and_rate.weight.chunk(2)
        twin.in_proj_ba.weight.copy_(torch.stack([b, a], dim=1).flatten(0, 1))
        twin.conv1d.weight.copy_(layer.convolution.taps.flip(0).T.unsqueeze(1))
        twin.A_log.copy_(layer.log_speed)
        twin.dt_bias.copy_(layer.decay_bias)
        twin.norm.weight.copy_(layer.norm)
        twin.out_proj.weight.copy_(layer.project.weight)
        x = torch.randn(2, 70, C)
        torch.testing.assert_close(layer(x, None)[0], twin(x), rtol=1e-4, atol=1e-5)
