"""DeltaNet against products of matrices; Gated DeltaNet against its formulas and Qwen3-Next."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv1d, normalize, pad, silu, softplus

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


def test_a_key_written_with_full_rate_reads_back_its_last_value() -> None:
    """Linear attention, a sum of outer products, would keep the old value as well."""
    layer = DeltaNet(C, 4).double()
    with torch.no_grad():
        layer.rate.weight.zero_()[:, 0] = 100.0
    x = torch.randn(1, 12, C, dtype=torch.float64)
    x[..., 0] = 1.0
    _, state = layer(x, None)
    _, k, v, _ = parts(layer, x[0])
    torch.testing.assert_close(state.memory[0, 0].T @ k[-1, 0], v[-1, 0], rtol=0, atol=2e-5)


@pytest.mark.parametrize("heads", [1, 2])
def test_gated_deltanet_is_its_formulas(heads) -> None:
    layer = GatedDeltaNet(C, 8, heads=heads, value_size=3).double()
    x, D = torch.randn(1, 9, C, dtype=torch.float64), 8 // heads
    projected = pad(layer.query_key_value(x)[0], (0, 0, 3, 0))
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


def test_a_layer_of_64_channels_has_a_memory_of_64_by_64() -> None:
    state = GatedDeltaNet(64).initial_state(2)
    assert state.memory.shape == (2, 1, 64, 64)
    state = GatedDeltaNet(64, heads=4, value_size=32).initial_state(2)
    assert state.memory.shape == (2, 4, 16, 32)


def test_decays_begin_slow() -> None:
    """With zero input, a step keeps between 90 and 99.9 % of a head's memory."""
    layer = GatedDeltaNet(C, heads=200)
    kept = torch.exp(-layer.log_speed.exp() * softplus(layer.decay_bias))
    assert 0.904 < kept.min() < 0.92
    assert 0.998 < kept.max() < 0.9991


def test_gated_deltanet_is_that_of_transformers() -> None:
    """Qwen3-Next's layer, with our weights in its order of rows."""
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
