"""The promises of `nn.GRU` about a new layer: arguments, attributes, names, initial weights."""

from __future__ import annotations

import inspect
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from ramgru import RAMGRU, Memory

SMALL = Memory(cells=16)
SHAPES = [
    {},
    {"num_layers": 2, "bidirectional": True},
    {"num_layers": 2, "bias": False, "batch_first": True, "dropout": 0.25},
]


def both(**options: Any) -> tuple[RAMGRU, nn.GRU]:
    torch.manual_seed(3)
    gru = nn.GRU(5, 6, **options)
    torch.manual_seed(3)
    return RAMGRU(5, 6, **options, memory=SMALL), gru


def gru_part(layer: RAMGRU) -> dict[str, torch.Tensor]:
    return {k: v for k, v in layer.state_dict().items() if not k.startswith("memory_")}


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
    layer = RAMGRU(*args, "cpu", torch.float64, memory=SMALL)
    gru = nn.GRU(*args, device="cpu", dtype=torch.float64)
    assert [p.shape for p in gru.parameters()] == [v.shape for v in gru_part(layer).values()]
    assert {p.dtype for p in layer.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden_size": "4"},
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
        RAMGRU(3, 4, dropout=0.5, memory=SMALL)
    assert ours[0].filename == __file__  # it points at the caller's line


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("nonlinearity", "$"),
        ("write_rule", "$"),
        ("cells", r"; .* go in memory=Memory\(cells=…\)$"),
        ("memory_size", r"; .* go in memory=Memory\(cells=…\)$"),
        ("num_heads", r"; .* go in memory=Memory\(heads=…\)$"),
    ],
)
def test_unknown_argument(name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=f"RAMGRU has no argument '{name}'{hint}"):
        RAMGRU(3, 4, **{name: 2})


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_attributes_names_and_initial_weights_are_those_of_nn_gru(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    shared = "mode, input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional"
    for name in shared.split(", "):
        assert getattr(layer, name) == getattr(gru, name), name
    assert layer.flatten_parameters() is None
    for ours, theirs in zip(layer.all_weights, gru.all_weights, strict=True):
        assert [w.shape for w in ours] == [w.shape for w in theirs]
        assert all(isinstance(w, nn.Parameter) for w in ours)
    for module in (layer, gru):
        torch.manual_seed(5)
        module.reset_parameters()
    assert list(gru_part(layer)) == list(gru.state_dict())
    for name, theirs in gru.state_dict().items():
        assert torch.equal(gru_part(layer)[name], theirs), name
        theirs += 1
    left = layer.load_state_dict(gru.state_dict(), strict=False)  # the checkpoint of a GRU
    assert left.unexpected_keys == []
    assert all(key.startswith("memory_") for key in left.missing_keys)
    for name, theirs in gru.state_dict().items():
        assert torch.equal(gru_part(layer)[name], theirs), name


def test_reset_parameters_starts_everything_anew() -> None:
    layer = RAMGRU(3, 4, memory=Memory(16, "key:2 tape", learned_start=True))
    torch.manual_seed(1)
    layer.reset_parameters()
    first = {name: value.clone() for name, value in layer.state_dict().items()}
    for value in layer.state_dict().values():
        value.fill_(7.0)
    torch.manual_seed(1)
    layer.reset_parameters()
    for name, value in layer.state_dict().items():
        assert torch.equal(value, first[name]), name


@pytest.mark.parametrize("options", SHAPES, ids=str)
def test_repr_begins_as_that_of_nn_gru(options: dict[str, Any]) -> None:
    layer, gru = both(**options)
    assert repr(layer) == "RAM" + repr(gru)[:-1] + ", memory=Memory(cells=16))"
    assert repr(RAMGRU(5, 6, **options)) == "RAM" + repr(gru)


def test_repr_shows_every_option_so_that_no_two_layers_print_alike() -> None:
    kinds: list[dict[str, Any]] = [
        *({}, {"num_layers": 2}, {"bias": False}, {"batch_first": True}, {"bidirectional": True}),
        *({"controller": "mingru"}, {"controller": "diagonal"}),
        *({"carry": "state"}, {"carry": "flat"}),
        *({"checkpoint_every": 8}, {"gru_kernel": "torch"}, {"num_layers": 2, "dropout": 0.5}),
    ]
    memories: list[dict[str, Any]] = [
        *(
            {"cells": 1024},
            {"width": 3},
            {"tag": 3},
            {"writes": 3},
            {"reads": 3},
            {"gate_bias": 1.5},
        ),
        *({"learned_start": True}, {"heads": 3}, {"heads": "key:2"}, {"heads": "key:skip=2"}),
        *({"heads": "key:write_after=2"}, {"heads": "tape"}, {"heads": "key tape"}),
    ]
    kinds += [{"memory": Memory(**options)} for options in memories]
    shown = [repr(RAMGRU(5, 6, **options)) for options in kinds]
    for (a, one), (b, other) in itertools.combinations(zip(kinds, shown), 2):
        assert one != other, (a, b)
    for options, text in zip(kinds, shown):  # the text is the call that makes the layer
        assert repr(eval(text, {"RAMGRU": RAMGRU, "Memory": Memory})) == text, options


def test_dropout_may_be_changed_later() -> None:
    layer = RAMGRU(3, 4, 2, memory=SMALL)
    x = torch.randn(5, 2, 3)
    quiet = layer(x)[0]
    layer.dropout = 0.9
    assert not torch.equal(layer(x)[0], quiet)
    assert torch.equal(layer.eval()(x)[0], quiet)


def test_own_checkpoint_loads_strictly() -> None:
    options: dict[str, Any] = {"num_layers": 2, "bidirectional": True, "memory": SMALL}
    first, second = RAMGRU(3, 4, **options), RAMGRU(3, 4, **options)
    second.load_state_dict(first.state_dict())
    x = torch.randn(5, 2, 3)
    assert torch.equal(first(x)[0], second(x)[0])


def test_mingru_has_no_weights_from_hidden_to_hidden() -> None:
    layer = RAMGRU(3, 4, controller="mingru", memory=SMALL)
    assert list(gru_part(layer)) == ["weight_ih_l0", "bias_ih_l0"]
    assert layer.weight_ih_l0.shape == (8, 3)


def test_diagonal_has_one_recurrent_weight_a_unit_and_gate_of_either_sign() -> None:
    layer = RAMGRU(3, 40, controller="diagonal", memory=SMALL)
    shapes = {name: tuple(value.shape) for name, value in gru_part(layer).items()}
    assert shapes == {
        "weight_ih_l0": (120, 3),
        "weight_hh_l0": (120,),
        "bias_ih_l0": (120,),
        "bias_hh_l0": (120,),
    }
    assert layer.weight_hh_l0.min() < -0.5
    assert layer.weight_hh_l0.max() > 0.5
