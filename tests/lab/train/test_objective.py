"""What an open update gate costs: its gradient, and never a part of the loss that is told."""

from __future__ import annotations

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.train.build import ModelConfig, RAMOptions, build_model
from ramgru.lab.train.objective import Objective

TASK = tasks.get("mqar", vocab_size=32, pairs=2, length=8)
SMALL = {"d_model": 16, "num_layers": 2}


def model_of(**ram):
    torch.manual_seed(0)
    options = RAMOptions(memory_size=64, nhead=2, **ram)
    return build_model(ModelConfig(**SMALL, ram=options), TASK)


def run(model, price, lengths=None):
    inputs = torch.randint(1, TASK.vocab_size, (3, 9), generator=torch.Generator().manual_seed(1))
    where, answers = torch.tensor([2, 11, 13, 20]), torch.tensor([1, 2, 3, 4])
    model.zero_grad()
    loss, *_ = Objective(model)(inputs, where, answers, lengths, write_price=price)
    loss.backward()
    return loss.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}, inputs


@pytest.mark.parametrize("lengths", [None, torch.tensor([9, 4, 7])], ids=["", "ragged"])
@pytest.mark.parametrize(
    "ram", [{}, {"gate": "cell", "gate_range": (-0.1, 1.1)}], ids=["scalar", "cell"]
)
def test_the_gradient_of_the_openings_is_added_and_the_loss_stays(ram, lengths):
    model = model_of(**ram)
    plain, without, inputs = run(model, None, lengths)
    charged, found, _ = run(model, torch.tensor(0.5), lengths)
    assert torch.equal(plain, charged)

    # summed over steps that are no padding, by the definition of the gates
    model.zero_grad()
    x, means = model.embedding(inputs), []
    for block in model.blocks:
        memory = block.layer.memories[0]
        low, high = memory.gate_range
        gates = low + (high - low) * memory.update_gate(block.norm(x)).sigmoid()
        real = torch.arange(9) < (torch.full((3,), 9) if lengths is None else lengths).unsqueeze(1)
        means.append(gates.clamp(0, 1)[real].mean(-1).sum())
        x, _ = block(x, None, lengths=lengths)
    (0.5 * sum(means) / 2).backward()
    for name, parameter in model.named_parameters():
        more = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        torch.testing.assert_close(found[name], without[name] + more, rtol=1e-4, atol=1e-6)
    assert (
        found["blocks.0.layer.memory_l0.update_gate.bias"]
        .sub(without["blocks.0.layer.memory_l0.update_gate.bias"])
        .min()
        > 0
    )  # what is charged for is closed


def test_no_hook_stays_behind():
    model = model_of()
    run(model, torch.tensor(1.0))
    assert not model.blocks[0].layer.memories[0].update_gate._forward_hooks
