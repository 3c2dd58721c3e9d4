"""A trained GRU gets a memory: the same bits at the start, and a memory that can grow.

And what holds of every layer: the same bits in every run, and the caller's tensors as they were.
"""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_sequence

from ramgru import RAMGRU

both_ways = pytest.mark.parametrize("controller", ["gru", "mingru"])
both_rules = pytest.mark.parametrize("rule", ["gru", "delta"])
MEMORY = {"memory_size": 64, "num_heads": 2, "top_k": 3}
GRUS = {
    "plain": {},
    "batch_first": {"batch_first": True},
    "no_bias": {"bias": False},
    "two_layers": {"num_layers": 2, "dropout": 0.5},
    "two_way": {"bidirectional": True},
    "all": {"num_layers": 3, "bidirectional": True, "dropout": 0.5, "batch_first": True},
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("packed", [False, True], ids=["padded", "packed"])
@pytest.mark.parametrize("options", GRUS.values(), ids=GRUS)
def test_same_bits_at_the_start(options: dict[str, Any], packed: bool, dtype: torch.dtype) -> None:
    gru = nn.GRU(5, 17, **options, dtype=dtype).eval()
    layer = RAMGRU.from_gru(gru, **MEMORY)
    assert not layer.training
    sequences = [torch.randn(n, 5, dtype=dtype) for n in (9, 23, 23, 4, 17)]
    if packed:
        given: Any = pack_sequence(sequences, enforce_sorted=False)
    else:
        given = nn.utils.rnn.pad_sequence(sequences, batch_first=gru.batch_first)
    hx = torch.randn(gru.num_layers * (1 + gru.bidirectional), 5, 17, dtype=dtype)
    for args in ((given,), (given, hx)):
        (output, h_n), (expected, expected_h) = layer(*args), gru(*args)
        if packed:
            output, expected = output.data, expected.data
        assert torch.equal(output, expected)
        assert torch.equal(h_n, expected_h)


def test_training_mode_options_and_copies_are_kept() -> None:
    gru = nn.GRU(3, 4, 2, bias=False, batch_first=True, dropout=0.3, bidirectional=True)
    layer = RAMGRU.from_gru(gru, **MEMORY, write_rule="delta")
    assert layer.training
    assert layer.write_rule == "delta"
    for name in ("num_layers", "bias", "batch_first", "dropout", "bidirectional"):
        assert getattr(layer, name) == getattr(gru, name)
    with torch.no_grad():
        layer.weight_hh_l0.zero_()
    assert gru.weight_hh_l0.abs().sum() > 0


def test_gradient_reaches_the_read_out_from_the_start() -> None:
    """It is zero itself, but its gradient is not: the memory can begin to speak."""
    layer = RAMGRU.from_gru(nn.GRU(3, 4, 2), **MEMORY)
    x = torch.randn(6, 2, 3)
    before, _ = layer(x)
    before.sin().sum().backward()
    for memory in layer.memories:
        assert not memory.read_out.weight.any()
        assert memory.read_out.weight.grad.abs().sum() > 0
    torch.optim.SGD(layer.parameters(), lr=0.1).step()
    layer.zero_grad()
    layer(x)[0].sin().sum().backward()
    for name, parameter in layer.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_other_modules_are_refused() -> None:
    with pytest.raises(TypeError, match=r"gru: expected a torch.nn.GRU, got LSTM"):
        RAMGRU.from_gru(nn.LSTM(3, 4))


# Determinism.


def one_run(controller: str, rule: str) -> list[Tensor]:
    torch.manual_seed(11)
    layer = RAMGRU(
        16, 32, controller=controller, write_rule=rule, memory_size=256, learn_initial=True
    )
    x = torch.randn(40, 8, 16)
    options = {"reset": torch.rand(40, 8) < 0.1, "lengths": torch.randint(1, 41, (8,))}
    output, state = layer(x, layer.initial_state(8), **options)
    loss = output.sin().sum() + state.to_tensor().cos().sum()
    return [output, state.to_tensor(), *torch.autograd.grad(loss, layer.parameters())]


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@both_ways
@both_rules
@pytest.mark.parametrize("number", [1, 2], ids=["one_thread", "two_threads"])
def test_same_bits_in_every_run(controller: str, rule: str, number: int, threads: Any) -> None:
    threads(number)
    first = one_run(controller, rule)
    for _ in range(2):
        for a, b in zip(one_run(controller, rule), first):
            assert torch.equal(a, b)


# The caller's tensors.


@both_ways
@both_rules
@pytest.mark.parametrize("dense", [False, True], ids=["compact", "dense"])
def test_what_the_caller_gave_is_not_changed(controller: str, rule: str, dense: bool) -> None:
    layer = RAMGRU(3, 4, 2, controller=controller, write_rule=rule, memory_size=16)
    given: dict[str, Any] = {
        "x": torch.randn(5, 2, 3),
        "hx": torch.randn(2, 2, 4),
        "lengths": torch.tensor([5, 3]),
        "reset": torch.rand(5, 2) < 0.4,
        "write_index": torch.randint(-1, 16, (5, 2)),
        "read_index": torch.randint(-1, 16, (5, 2, 4)),
    }
    options = {k: v for k, v in given.items() if k not in ("x", "hx")}
    with torch.no_grad():
        _, state = layer(given["x"], layer.initial_state(2, dense=dense))
    kept, kept_state = copy.deepcopy(given), copy.deepcopy(state)
    layer(given["x"], given["hx"], **options)
    output, _ = layer(given["x"], state, **options)
    output.sum().backward()
    with torch.no_grad():
        layer.step(given["x"][0], state, reset=given["reset"][0])
        layer.step(given["x"][0], state, write_index=given["write_index"][0])
    for name, value in kept.items():
        assert torch.equal(given[name], value), name
    assert torch.equal(state.hidden, kept_state.hidden)
    for ours, theirs in zip(state.context, kept_state.context):
        assert torch.equal(ours, theirs)
    for ours, theirs in zip(state.memory, kept_state.memory):
        assert torch.equal(ours.cells, theirs.cells)
        assert torch.equal(ours.rows, theirs.rows)


def test_donated_cells_are_overwritten_in_place() -> None:
    layer = RAMGRU(3, 4, memory_size=16)
    state = layer.initial_state(2, dense=True)
    place = state.memory[0].rows.data_ptr()
    for _ in range(3):
        output, state = layer.step(torch.randn(2, 3), state, donate=True)
        assert state.memory[0].rows.data_ptr() == place
        # No gradient at all, rather than one that lacks the memory's part, of ever more steps.
        assert not output.requires_grad
        assert not state.to_tensor().requires_grad
    assert state.memory[0].rows.any()
