"""Attention over slots: the loop is the sum over all writes, and the chunks are the loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ramgru.lab.peers import slot_attention

B, H, M, D, E = 2, 3, 4, 5, 6


def inputs(steps: int, power: float = 1.0, resets: float = 0.0) -> list[Tensor]:
    """q, k, v, decay, weight, memory"""
    q, k = (torch.randn(B, steps, H, D, dtype=torch.float64) for _ in range(2))
    v = torch.randn(B, steps, H, E, dtype=torch.float64)
    decay = torch.rand(B, steps, H, M, dtype=torch.float64) ** power
    weight, memory = 1 - decay, torch.randn(B, H, M, D + E, dtype=torch.float64)
    decay = decay.masked_fill(torch.rand(B, steps, 1, 1) < resets, 0)
    return [q, k, v, decay, weight, memory]


def test_loop_is_the_sum_over_all_writes() -> None:
    q, k, v, decay, weight, memory = inputs(9, power=0.3, resets=0.2)
    y, after = slot_attention.loop(q, k, v, decay, weight, memory)
    keys_and_values = torch.cat([k, v], dim=-1)
    for t in range(9):
        slots = decay[:, : t + 1].prod(1).unsqueeze(-1) * memory
        for s in range(t + 1):
            left = weight[:, s] * decay[:, s + 1 : t + 1].prod(1)
            slots = slots + left.unsqueeze(-1) * keys_and_values[:, s].unsqueeze(-2)
        keys, values = slots.split([D, E], dim=-1)
        shares = (keys @ q[:, t].unsqueeze(-1)).softmax(-2)  # (B, H, M, 1)
        torch.testing.assert_close(y[:, t], (values.mT @ shares).squeeze(-1))
    torch.testing.assert_close(after, slots)


@pytest.mark.parametrize("resets", [0.0, 0.1])
@pytest.mark.parametrize("power", [0.05, 1.0, 300.0])  # slots that keep nearly all, half, nothing
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 31, 32, 33, 100])
def test_chunks_are_the_loop_and_so_are_their_gradients(steps, power, resets) -> None:
    given, found = inputs(steps, power, resets), []
    for rule in (slot_attention.loop, slot_attention.chunks):
        leaves = [x.clone().requires_grad_() for x in given]
        y, memory = rule(*leaves)
        assert y.shape == (B, steps, H, E)
        loss = y.sin().sum() + memory.cos().sum()
        grads = torch.autograd.grad(loss, leaves, materialize_grads=True)
        found.append([y, memory, *grads])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("power", [0.05, 1.0, 300.0])
def test_single_precision_is_near(power) -> None:
    given, found = inputs(300, power, resets=0.01), []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).requires_grad_() for x in given]
        y, memory = slot_attention.chunks(*leaves)
        loss = y.sin().sum() + memory.cos().sum()
        found.append([y, memory, *torch.autograd.grad(loss, leaves)])
    for rough, fine in zip(*found):
        assert rough.isfinite().all()
        assert (rough - fine).norm() < 1e-5 * fine.norm()
