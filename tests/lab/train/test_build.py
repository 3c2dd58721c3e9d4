"""Models from descriptions."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from ramgru.config import Memory
from ramgru.lab import tasks
from ramgru.lab.train.build import LAYERS, ModelConfig, build_model, count_parameters, state_bytes

TOKENS = tasks.get("mqar", vocab_size=16, pairs=2, length=8)
BITS = tasks.get("copy", bits=3, length=4)
TINY = ModelConfig(d_model=8, num_layers=2, memory=Memory(cells=16, reads=2))


@pytest.mark.parametrize("layer", LAYERS)
def test_every_layer_takes_tokens_and_features(layer):
    config, weights = replace(TINY, layer=layer), []
    for _ in range(2):
        torch.manual_seed(5)
        model = build_model(config, TOKENS)
        weights.append(torch.cat([p.flatten() for p in model.parameters()]))
    assert torch.equal(*weights)  # the same seed gives the same bits
    assert model(torch.from_numpy(TOKENS.draw(3, seed=0).inputs)).shape == (3, 8, 16)
    assert model.state_size > 0
    batch = BITS.draw(3, seed=0)
    outputs = build_model(config, BITS)(torch.from_numpy(batch.inputs))
    assert outputs.shape == (*batch.labels.shape,)


@pytest.mark.parametrize("layer", LAYERS[1:])
@pytest.mark.parametrize("wanted", [6_000, 10_000, 100_000])
def test_parameter_count_is_the_nearest(layer, wanted):
    """No other width comes nearer."""

    def count(width: int) -> int:
        with torch.device("meta"):
            return count_parameters(
                build_model(ModelConfig(layer=layer, d_model=8, hidden_size=width), TOKENS)
            )

    model = build_model(ModelConfig(layer=layer, d_model=8, parameters=wanted), TOKENS)
    width = model.layers[0].hidden_size
    missed = abs(count_parameters(model) - wanted)
    assert missed <= min(abs(count(w) - wanted) for w in (width - 1, width + 1))


def test_options_reach_the_peers_layers():
    config = ModelConfig(layer="attention,heads=3,positions=rope", d_model=8)
    for layer in build_model(config, TOKENS).layers:
        # 8 channels over three heads, rounded up
        assert (layer.heads, layer.hidden_size, layer.positions) == (3, 9, "rope")
    config = replace(config, layer="gated_deltanet,heads=3,value_size=5")
    for layer in build_model(config, TOKENS).layers:
        assert (layer.heads, layer.hidden_size, layer.value_size) == (3, 9, 5)


def test_widths_of_heads_and_values_leave_the_count_near_the_wanted_one():
    for config in (
        ModelConfig(layer="attention,heads=4", parameters=50_000),
        ModelConfig(layer="gated_deltanet,heads=2,value_size=32", parameters=100_000),
    ):
        found = count_parameters(build_model(config, TOKENS))
        assert abs(found - config.parameters) < 0.02 * config.parameters


def test_specification_takes_options_of_the_network_and_of_the_memory():
    layer = "ramgru,d_model=12,num_layers=1,controller=mingru,cells=64,heads=tape key:2,width=none"
    model = build_model(ModelConfig(layer=layer, memory=Memory(reads=2)), TOKENS)
    (block,) = model.layers
    assert (block.hidden_size, block.controller) == (12, "mingru")
    assert block.memory == Memory(cells=64, heads="key:2 tape", reads=2)
    peer = build_model(ModelConfig(layer="gru,d_model=12,hidden_size=5"), TOKENS)
    assert peer.layers[0].weight_hh.shape == (15, 5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layer": "gur"}, "layer must be one of ramgru, gru, .*, got 'gur'; did you mean gru"),
        ({"d_model": 0}, "d_model must be at least 1, got 0"),
        ({"dropout": 1.0}, r"dropout must be in \[0, 1\), got 1.0"),
        ({"mlp_ratio": -1.0}, "mlp_ratio must not be negative, got -1.0"),
        ({"parameters": 9}, "parameters sets the width of a peer's layer, got parameters=9"),
        ({"hidden_size": 9}, "hidden_size sets the width of a peer's layer, got hidden_size=9"),
        (
            {"layer": "gru", "parameters": 9, "state_bytes": 8},
            "give parameters or state_bytes, not both, got 9 and 8",
        ),
        (
            {"layer": "gru", "d_model": 8, "parameters": 10},
            r"parameters must be at least \d+ for .*, got 10",
        ),
        ("ramgru,cell=9", "layer ramgru has no option 'cell'; did you mean cells"),
        ("attention,head=2", "layer attention has no option 'head'; did you mean heads"),
        ("attention,heads=two", "option heads of layer attention must be of type int, got 'two'"),
        (
            "ramgru,controller=lstm",
            "option controller must be one of gru, mingru, diagonal, got 'lstm'",
        ),
        ("ramgru,heads=kye", "expected heads of key, .* got 'kye'"),
        ("gru,4", r"expected NAME\[,OPTION=VALUE…\], got 'gru,4'"),
        ("gru,d_model=4,d_model=5", "option 'd_model' must be given once"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_bad_options(options, message):
    options = {"layer": options} if isinstance(options, str) else options
    with pytest.raises(ValueError, match=message):
        build_model(ModelConfig(**options), TOKENS)


@pytest.mark.parametrize("layer", LAYERS)
def test_state_fills_the_bytes_that_it_may(layer):
    """The next size would be too large, and at least a quarter of the bytes is used."""
    config = ModelConfig(layer=layer, d_model=8, num_layers=1)
    model = build_model(replace(config, state_bytes=40_000), TOKENS)
    used = state_bytes(model, 8)
    assert 40_000 / 4 < used <= 40_000
    with pytest.raises(ValueError, match=r"state_bytes must be at least \d+ for layer=.*, got 3"):
        build_model(replace(config, state_bytes=3), TOKENS)
