"""`write_cost`: the auxiliary loss on open update gates of the last forward pass in training."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence

from ramgru import RAMGRU, Memory, RAMGRUModel, trace, write_cost

KEYS = 2
EVERY_KIND = "key key:2 learned lag tape"  # with as many key heads


def make(heads: str = "key key:2 tape", **options: Any) -> RAMGRU:
    memory = Memory(cells=16, heads=heads)
    return RAMGRU(3, 4, batch_first=True, dtype=torch.float64, memory=memory, **options)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def by_hand(layer: RAMGRU, x: Tensor, lengths: Tensor) -> Tensor:
    """The mean gate of key heads over valid steps, averaged over layers and directions."""
    _, state = trace(layer, x, lengths=lengths)  # gates of padding are 0 in a trace
    means = [one.gate[..., :KEYS].mean(-1).sum() / lengths.sum() for one in state.trace]
    return torch.stack(means).mean()


@pytest.mark.parametrize("way", ["padded", "packed", "checkpointed"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one_way", "two_way"])
def test_equals_the_mean_gate_of_valid_steps(way: str, bidirectional: bool) -> None:
    if way == "checkpointed" and bidirectional:
        pytest.skip("gradient checkpointing is for one direction")
    layer = make(EVERY_KIND, num_layers=2, bidirectional=bidirectional)
    x, lengths = normal(3, 9, 3), torch.tensor([9, 2, 0] if way != "packed" else [2, 9, 5])
    layer.checkpoint_every = 4 if way == "checkpointed" else None
    if way == "packed":
        output, _ = layer(pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False))
    else:
        output, _ = layer(x, lengths=lengths)
    cost = write_cost(layer)
    torch.testing.assert_close(cost, 0.3 * by_hand(layer, x, lengths), rtol=0, atol=1e-12)
    torch.testing.assert_close(write_cost(layer, price=2.0), cost / 0.15, rtol=1e-12, atol=0)


def test_gradient_reaches_the_gates_of_key_heads_alone() -> None:
    layer = make(EVERY_KIND)
    layer(normal(3, 9, 3))
    write_cost(layer).backward()
    gate = layer.memories[0].update_gate
    for name, parameter in layer.named_parameters():
        if parameter not in set(gate.parameters()):
            assert parameter.grad is None or not parameter.grad.any(), name
    assert (gate.bias.grad[:KEYS] > 0).all()
    assert not gate.bias.grad[KEYS:].any()
    assert gate.weight.grad[:KEYS].abs().min() > 0
    assert not gate.weight.grad[KEYS:].any()


def test_gradient_checkpointing_changes_no_gradient_of_the_cost() -> None:
    layer, x, found = make(num_layers=2), normal(3, 9, 3), []
    for every in (None, 4):
        layer.checkpoint_every = every
        layer.zero_grad()
        (layer(x)[0].sin().sum() + write_cost(layer)).backward()
        found.append([parameter.grad for parameter in layer.parameters()])
    for one, other in zip(*found):
        torch.testing.assert_close(other, one, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", ["tape", "learned", "padding", "empty batch"])
def test_no_step_of_a_key_head_costs_nothing(kind: str) -> None:
    layer = make(kind if kind in ("tape", "learned") else "key")
    x = normal(0 if kind == "empty batch" else 3, 9, 3)
    layer(x, lengths=torch.zeros(len(x), dtype=torch.int64) if kind == "padding" else None)
    cost = write_cost(layer)
    assert float(cost.detach()) == 0
    cost.backward()
    assert all(p.grad is None or not p.grad.any() for p in layer.parameters())


def test_the_last_forward_pass_in_training_counts() -> None:
    layer, x, y = make(), normal(3, 9, 3), normal(2, 5, 3)
    layer(y)
    layer(x)
    expected = write_cost(layer)
    with torch.no_grad():
        layer(y)
    layer.eval()
    layer(y)
    torch.testing.assert_close(write_cost(layer), expected, rtol=0, atol=0)
    layer.train()
    layer.step(y[:, 0], layer.initial_state(2))
    torch.testing.assert_close(
        write_cost(layer), 0.3 * by_hand(layer, y[:, :1], torch.ones(2).long())
    )


def test_of_a_model_it_is_the_mean_over_blocks() -> None:
    model = RAMGRUModel(11, 8, 2, 16, num_layers=3)
    model(torch.randint(11, (2, 7)))
    each = torch.stack([write_cost(layer) for layer in model.layers])
    torch.testing.assert_close(write_cost(model), each.mean())
    assert 0 < float(write_cost(model, price=1.0).detach()) < 1


def test_gates_shut_within_a_few_steps() -> None:
    layer, x = make(), normal(3, 9, 3)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.1)
    costs = []
    for _ in range(20):
        optimizer.zero_grad()
        layer(x)
        costs.append(write_cost(layer))
        costs[-1].backward()
        optimizer.step()
    assert float(costs[-1].detach()) < float(costs[0].detach()) / 2


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save"])
def test_a_layer_can_be_copied_after_a_forward_pass_in_training(how: str, tmp_path: Any) -> None:
    layer, x = make(), normal(3, 9, 3)
    output, _ = layer(x)
    if how == "save":
        torch.save(layer, tmp_path / "layer")
        twin = torch.load(tmp_path / "layer", weights_only=False)
    else:
        twin = copy.deepcopy(layer) if how == "deepcopy" else pickle.loads(pickle.dumps(layer))
    with pytest.raises(ValueError, match="model: expected a RAMGRU that ran forward in training"):
        write_cost(twin)
    twin(x)
    (output.sum() + write_cost(layer) + write_cost(twin)).backward()


def test_without_a_forward_pass_in_training_it_says_so() -> None:
    layer, x = make(), normal(3, 9, 3)

    def refused(model: torch.nn.Module) -> None:
        with pytest.raises(ValueError, match=rf"model: .* got {type(model).__name__} without"):
            write_cost(model)

    refused(layer)
    with pytest.raises(TypeError, match="price: expected a number, got str"):
        write_cost(layer, price="0.3")  # type: ignore[arg-type]
    with torch.no_grad():
        layer(x)
    refused(layer)
    layer.eval()(x)
    refused(layer)
    refused(torch.nn.GRU(3, 4))
    layer.train()
    torch.func.grad(lambda x: layer(x)[0].sum())(x)
    refused(layer)
