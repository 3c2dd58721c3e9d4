"""The gated delta rule: the loop is its equation, the chunks the loop, and both transformers'."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ramgru.lab.peers import gated_delta_rule

B, H, D, E = 2, 3, 5, 4


def inputs(steps: int, dtype: torch.dtype = torch.float64, strength: float = 1.0) -> list[Tensor]:
    """q, k, v, log_decay, beta, memory"""
    q, k = (torch.randn(B, H, steps, D, dtype=dtype) for _ in range(2))
    v, memory = torch.randn(B, H, steps, E, dtype=dtype), torch.randn(B, H, D, E, dtype=dtype)
    log_decay = -strength * torch.rand(B, H, steps, dtype=dtype)
    beta = torch.rand(B, H, steps, dtype=dtype)
    return [q, normalize(k, dim=-1), v, log_decay, beta, memory]


def resets(steps: int, kind: str) -> Tensor | None:
    if kind == "none":
        return None
    reset = torch.rand(B, steps) < 0.05
    reset[0, 0] = reset[1, -1] = True
    return reset


@pytest.mark.parametrize("kind", ["none", "resets"])
def test_loop_is_the_equation(kind) -> None:
    q, k, v, log_decay, beta, memory = inputs(7)
    reset = resets(7, kind)
    y, after = gated_delta_rule.loop(q, k, v, log_decay, beta, memory, reset)
    for b in range(B):
        for h in range(H):
            S = memory[b, h]
            for t in range(7):
                S = torch.zeros_like(S) if reset is not None and reset[b, t] else S
                key, value, a = k[b, h, t], v[b, h, t], log_decay[b, h, t].exp()
                erase = torch.eye(D) - beta[b, h, t] * torch.outer(key, key)
                S = a * erase @ S + beta[b, h, t] * torch.outer(key, value)
                torch.testing.assert_close(y[b, h, t], S.T @ q[b, h, t])
            torch.testing.assert_close(after[b, h], S)


@pytest.mark.parametrize("kind", ["none", "resets"])
@pytest.mark.parametrize("steps", [1, 63, 64, 65, 200])
def test_chunks_are_the_loop_and_so_are_their_gradients(steps, kind) -> None:
    given, reset, found = inputs(steps), resets(steps, kind), []
    for rule in (gated_delta_rule.loop, gated_delta_rule.chunks):
        leaves = [x.clone().requires_grad_() for x in given]
        y, memory = rule(*leaves, reset)
        grads = torch.autograd.grad(y.sin().sum() + memory.cos().sum(), leaves)
        found.append([y, memory, *grads])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("kind", ["none", "resets"])
def test_a_decay_to_nothing_leaves_finite_numbers(kind) -> None:
    leaves = [x.requires_grad_() for x in inputs(130, torch.float32, strength=100.0)]
    y, memory = gated_delta_rule.chunks(*leaves, resets(130, kind))
    expected, _ = gated_delta_rule.loop(*leaves, resets(130, "none"))
    if kind == "none":
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)
    for x in (y, memory, *torch.autograd.grad(y.sum() + memory.sum(), leaves)):
        assert x.isfinite().all()


def peer() -> Any:
    """The rule and the layer as transformers has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers", minversion="4.57")
        from transformers.models.qwen3_next import modeling_qwen3_next
    return modeling_qwen3_next


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 200])
def test_rule_is_that_of_transformers(steps) -> None:
    """Which scales q by D^-1/2, has time before heads, and computes in float32."""
    q, k, v, log_decay, beta, memory = inputs(steps, torch.float32)
    there = [x.transpose(1, 2) for x in (q, k, v, log_decay, beta)]
    for theirs in (peer().torch_chunk_gated_delta_rule, peer().torch_recurrent_gated_delta_rule):
        y, after = theirs(*there, initial_state=memory, output_final_state=True)
        for ours in (gated_delta_rule.loop, gated_delta_rule.chunks):
            found, left = ours(q * D**-0.5, k, v, log_decay, beta, memory)
            torch.testing.assert_close(found, y.transpose(1, 2), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(left, after, rtol=1e-4, atol=1e-5)
