"""Mamba-2's state space: the loop is the sum over all writes, and the chunks are the loop."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ramgru.lab.peers import state_space

B, H, P, D = 2, 3, 4, 5


def inputs(steps: int, strength: float = 1.0) -> list[Tensor]:
    """q, k, v, log_decay, memory"""
    q, k = (torch.randn(B, steps, D, dtype=torch.float64) for _ in range(2))
    v = torch.randn(B, steps, H, P, dtype=torch.float64)
    log_decay = -strength * torch.rand(B, steps, H, dtype=torch.float64)
    return [q, k, v, log_decay, torch.randn(B, H, P, D, dtype=torch.float64)]


def resets(steps: int, kind: str) -> Tensor | None:
    if kind == "none":
        return None
    reset = torch.rand(B, steps) < 0.05
    reset[0, :1] = reset[1, -1:] = True
    return reset


@pytest.mark.parametrize("kind", ["none", "resets"])
def test_loop_is_the_sum_over_all_writes(kind) -> None:
    q, k, v, log_decay, memory = inputs(9)
    reset = resets(9, kind)
    y, after = state_space.loop(q, k, v, log_decay, memory, reset)
    for b in range(B):
        for t in range(9):
            starts = [] if reset is None else [s for s in range(t + 1) if reset[b, s]]
            S = log_decay[b, : t + 1].sum(0).exp()[:, None, None] * memory[b]
            S = torch.zeros_like(S) if starts else S
            for s in range(max(starts, default=0), t + 1):
                left = log_decay[b, s + 1 : t + 1].sum(0).exp()
                S = S + left[:, None, None] * v[b, s][:, :, None] * k[b, s]
            torch.testing.assert_close(y[b, t], S @ q[b, t])
        torch.testing.assert_close(after[b], S)


@pytest.mark.parametrize("kind", ["none", "resets"])
@pytest.mark.parametrize("strength", [0.01, 1.0, 300.0])
@pytest.mark.parametrize("steps", [0, 1, 2, 5, 31, 32, 33, 100])
def test_chunks_are_the_loop_and_so_are_their_gradients(steps, strength, kind) -> None:
    given, reset, found = inputs(steps, strength), resets(steps, kind), []
    for rule in (state_space.loop, state_space.chunks):
        leaves = [x.clone().requires_grad_() for x in given]
        y, memory = rule(*leaves, reset)
        assert y.shape == (B, steps, H, P)
        loss = y.sin().sum() + memory.cos().sum()
        grads = torch.autograd.grad(loss, leaves, materialize_grads=True)
        found.append([y, memory, *grads])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("strength", [0.01, 1.0, 300.0])
def test_single_precision_is_near(strength) -> None:
    given, reset, found = inputs(300, strength), resets(300, "resets"), []
    for dtype in (torch.float32, torch.float64):
        leaves = [x.to(dtype).requires_grad_() for x in given]
        y, memory = state_space.chunks(*leaves, reset)
        loss = y.sin().sum() + memory.cos().sum()
        found.append([y, memory, *torch.autograd.grad(loss, leaves)])
    for rough, fine in zip(*found):
        assert rough.isfinite().all()
        assert (rough - fine).norm() <= 1e-5 * fine.norm() + 1e-30  # what single precision has not
