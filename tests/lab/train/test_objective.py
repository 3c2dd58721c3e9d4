"""The charge on open update gates: its gradient is added, the reported loss stays the same."""

from __future__ import annotations

import pytest
import torch

from ramgru import Key, Memory, write_cost
from ramgru.lab import tasks
from ramgru.lab.train.build import ModelConfig, build_model
from ramgru.lab.train.objective import Objective

TASK = tasks.get("mqar", vocab_size=32, pairs=2, length=8)


def run(model, price, lengths=None):
    inputs = torch.randint(1, TASK.vocab_size, (3, 9), generator=torch.Generator().manual_seed(1))
    where, answers = torch.tensor([2, 11, 13, 20]), torch.tensor([1, 2, 3, 4])
    model.zero_grad()
    loss, *_ = Objective(model)(inputs, where, answers, lengths, write_price=price)
    charge = write_cost(model) if model.training else None
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}, inputs, charge


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 4, 7])], ids=["", "ragged"])
@pytest.mark.parametrize("heads", ["key key", "key tape"])
def test_the_gradient_of_open_gates_is_added_and_the_loss_stays(heads, lengths):
    torch.manual_seed(0)
    config = ModelConfig(d_model=16, num_layers=2, memory=Memory(cells=64, heads=heads))
    model = build_model(config, TASK)
    plain, without, inputs, _ = run(model, None, lengths)
    charged, found, _, charge = run(model, torch.tensor(0.5), lengths)
    assert torch.equal(plain, charged)

    # the openings of key heads by definition, summed over steps that are not padding
    model.zero_grad()
    x, sums = model.embedding(inputs), []
    valid = torch.arange(9) < (torch.full((3,), 9) if lengths is None else lengths).unsqueeze(1)
    for block in model.blocks:
        memory = block.layer.memories[0]
        gates = memory.update_gate(block.norm(x)).sigmoid()[..., : len(memory.memory.of_kind(Key))]
        sums.append(gates[valid].mean(-1).sum())
        x, _ = block(x, None, lengths=lengths)
    torch.testing.assert_close(charge, 0.3 * sum(sums) / 2 / valid.sum())  # as in a person's loop
    (0.5 * sum(sums) / 2).backward()
    for name, parameter in model.named_parameters():
        more = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], without[name] + more, rtol=1e-4, atol=1e-6)
    bias = "blocks.0.layer.memory_l0.update_gate.bias"
    keys = slice(len(memory.memory.of_kind(Key)))
    assert (found[bias] - without[bias])[keys].min() > 0  # a charged gate is closed


def test_peers_are_not_charged():
    model = build_model(ModelConfig(layer="gru", d_model=16), TASK)
    plain, without, *_ = run(model.eval(), None)
    charged, found, *_ = run(model, torch.tensor(0.5))
    assert torch.equal(plain, charged)
    assert all(torch.equal(found[name], without[name]) for name in without)
