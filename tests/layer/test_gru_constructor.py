"""What `nn.GRU` promises before it runs: arguments, attributes, names, start (contract, 1 to 3)."""

from __future__ import annotations

import inspect
import warnings
from typing import Any

import pytest
import torch
from torch import nn

from ramgru import RAMGRU

SHAPES = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25},
]


def both(**options: Any) -> tuple[RAMGRU, nn.GRU]:
    torch.manual_seed(3)
    gru = nn.GRU(5, 6, **options)
    torch.manual_seed(3)
    return RAMGRU(5, 6, **options, memory_size=16), gru


def gru_part(layer: RAMGRU) -> dict[str, torch.Tensor]:
    return {k: v for k, v in layer.state_dict().items() if not k.startswith("memory_")}


# 1. The constructor.


def test_positional_order() -> None:
    names = list(inspect.signature(RAMGRU).parameters)
    assert names[:9] == [
        "input_size",
        "hidden_size",
        "num_layers",
        "bias",
        "batch_first",
        "dropout",
        "bidirectional",
        "device",
        "dtype",
    ]
    kinds = [p.kind for p in inspect.signature(RAMGRU).parameters.values()]
    assert all(kind is not inspect.Parameter.POSITIONAL_OR_KEYWORD for kind in kinds[9:])
    args = (3, 4, 2, False, True, 0.5, True)  # nn.GRU itself takes an 8th by name only
    layer = RAMGRU(*args, "cpu", torch.float64, memory_size=16)
    gru = nn.GRU(*args, device="cpu", dtype=torch.float64)
    assert [p.shape for p in gru.parameters()] == [v.shape for v in gru_part(layer).values()]
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    "arguments",
    [
        {"input_size": 0},
        {"input_size": -1},
        {"input_size": 2.0},
        {"hidden_size": 0},
        {"hidden_size": "4"},
        {"num_layers": 0},
        {"bias": 1},
        {"batch_first": None},
        {"dropout": True},
        {"dropout": -0.1},
        {"dropout": 1.5},
        {"dropout": "0.5"},
        {"proj_size": 2},
    ],
    ids=str,
)
def test_same_errors(arguments: dict[str, Any]) -> None:
    given = {"input_size": 3, "hidden_size": 4, **arguments}
    with pytest.raises((TypeError, ValueError)) as theirs:
        nn.GRU(**given)
    with pytest.raises(theirs.type) as ours:
        RAMGRU(**given)
    assert str(ours.value).startswith(str(theirs.value))


def test_dropout_of_one_layer_warns() -> None:
    with pytest.warns(UserWarning, match="dropout option adds dropout after all but last") as ours:
        RAMGRU(3, 4, dropout=0.5, memory_size=16)
    assert ours[0].filename == __file__  # it points at the caller's line


def test_unknown_argument() -> None:
    with pytest.raises(TypeError, match="RAMGRU has no argument 'nonlinearity'"):
        RAMGRU(3, 4, nonlinearity="relu")


# 2. Attributes.


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_attributes(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    shared = "mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional"
    for name in shared.split(", "):
        assert getattr(layer, name) == getattr(gru, name), name
    assert layer.flatten_parameters() is None
    assert len(layer.all_weights) == len(gru.all_weights)
    for ours, theirs in zip(layer.all_weights, gru.all_weights):
        assert [w.shape for w in ours] == [w.shape for w in theirs]
        assert all(isinstance(w, nn.Parameter) for w in ours)


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_same_start_as_nn_gru_under_the_same_seed(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    for module in (layer, gru):
        torch.manual_seed(5)
        module.reset_parameters()
    for name, theirs in gru.named_parameters():
        assert torch.equal(getattr(layer, name), theirs), name


def test_reset_parameters_starts_everything_anew() -> None:
    layer = RAMGRU(3, 4, memory_size=16, learn_context=True, learn_initial=True)
    torch.manual_seed(1)
    layer.reset_parameters()
    first = {name: p.clone() for name, p in layer.named_parameters()}
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.fill_(7.0)
    torch.manual_seed(1)
    layer.reset_parameters()
    for name, parameter in layer.named_parameters():
        assert torch.equal(parameter, first[name]), name


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_repr_begins_as_that_of_nn_gru(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    assert repr(layer).startswith("RAM" + repr(gru)[:-1] + ", controller='gru', memory_size=16, ")
    assert repr(layer).endswith(")")
    assert "\n" not in repr(layer)


def test_dropout_may_be_changed_later() -> None:
    layer = RAMGRU(3, 4, 2, memory_size=16)
    x = torch.randn(5, 2, 3)
    quiet = layer(x)[0]
    layer.dropout = 0.9
    assert not torch.equal(layer(x)[0], quiet)
    assert torch.equal(layer.eval()(x)[0], quiet)


# 3. Names.


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_state_dict_names_and_shapes(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    theirs = gru.state_dict()
    assert list(gru_part(layer)) == list(theirs)
    assert {k: v.shape for k, v in gru_part(layer).items()} == {
        k: v.shape for k, v in theirs.items()
    }
    assert ("weight_ih_l0_reverse" in theirs) == layer.bidirectional


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_checkpoint_of_a_gru_loads(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    with torch.no_grad():
        for parameter in gru.parameters():
            parameter += 1
    left = layer.load_state_dict(gru.state_dict(), strict=False)
    assert left.unexpected_keys == []
    assert all(key.startswith("memory_") for key in left.missing_keys)
    for name, theirs in gru.named_parameters():
        assert torch.equal(getattr(layer, name), theirs), name


def test_own_checkpoint_loads_strictly() -> None:
    options = {"num_layers": 2, "bidirectional": True, "learn_context": True, "memory_size": 16}
    first, second = RAMGRU(3, 4, **options), RAMGRU(3, 4, **options)
    second.load_state_dict(first.state_dict())
    x = torch.randn(5, 2, 3)
    assert torch.equal(first(x)[0], second(x)[0])


def test_mingru_has_no_weights_from_hidden_to_hidden() -> None:
    layer = RAMGRU(3, 4, controller="mingru", memory_size=16)
    assert list(gru_part(layer)) == ["weight_ih_l0", "bias_ih_l0"]
    assert layer.weight_ih_l0.shape == (8, 3)
    with pytest.raises(ValueError, match=r"controller: expected one of .*'mingru'.* got 'lstm'"):
        RAMGRU(3, 4, controller="lstm")


def test_no_warning_at_the_defaults() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        RAMGRU(3, 4)
