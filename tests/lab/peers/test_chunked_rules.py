"""The recurrences of the chunked peers: each loop is its equation, and the chunks are the loop."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from ramgru.lab.peers.deltanet import delta_chunks, delta_loop
from ramgru.lab.peers.gated_slots import slot_chunks, slot_loop
from ramgru.lab.peers.mamba2 import ssm_chunks, ssm_loop

B, H, D, E, M = 2, 3, 5, 4, 4
DOUBLE = torch.float64


def delta(steps: int, strength: float = 1.0) -> list[Tensor]:
    """q, k, v, log_decay, beta, memory"""
    q, k = (torch.randn(B, H, steps, D, dtype=DOUBLE) for _ in range(2))
    v, memory = torch.randn(B, H, steps, E, dtype=DOUBLE), torch.randn(B, H, D, E, dtype=DOUBLE)
    log_decay = -strength * torch.rand(B, H, steps, dtype=DOUBLE)
    beta = torch.rand(B, H, steps, dtype=DOUBLE)
    return [q, normalize(k, dim=-1), v, log_decay, beta, memory]


def ssm(steps: int, strength: float = 1.0) -> list[Tensor]:
    """q, k, v, log_decay, memory"""
    q, k = (torch.randn(B, steps, D, dtype=DOUBLE) for _ in range(2))
    v = torch.randn(B, steps, H, E, dtype=DOUBLE)
    log_decay = -strength * torch.rand(B, steps, H, dtype=DOUBLE)
    return [q, k, v, log_decay, torch.randn(B, H, E, D, dtype=DOUBLE)]


def slots(steps: int, strength: float = 1.0) -> list[Tensor]:
    """q, k, v, decay, weight, memory"""
    q, k = (torch.randn(B, steps, H, D, dtype=DOUBLE) for _ in range(2))
    v = torch.randn(B, steps, H, E, dtype=DOUBLE)
    decay = torch.rand(B, steps, H, M, dtype=DOUBLE) ** strength
    return [q, k, v, decay, 1 - decay, torch.randn(B, H, M, D + E, dtype=DOUBLE)]


RULES: dict[str, tuple[Callable[..., list[Tensor]], Any, Any]] = {
    "delta": (delta, delta_loop, delta_chunks),
    "ssm": (ssm, ssm_loop, ssm_chunks),
    "slots": (slots, slot_loop, slot_chunks),
}


def with_resets(name: str, steps: int, reset: bool, given: list[Tensor]) -> list[Any]:
    """The arguments with a reset at some steps, for slots as a decay of 0."""
    at = torch.rand(B, steps) < 0.05
    at[0, :1] = at[1, -1:] = True
    if name == "slots":
        decay = given[3].masked_fill(at[:, :, None, None], 0) if reset else given[3]
        return [*given[:3], decay, *given[4:]]
    return [*given, at if reset else None]


@pytest.mark.parametrize("reset", [False, True])
def test_delta_loop_is_its_equation(reset) -> None:
    q, k, v, log_decay, beta, memory, at = with_resets("delta", 7, reset, delta(7))
    y, after = delta_loop(q, k, v, log_decay, beta, memory, at)
    for b in range(B):
        for h in range(H):
            S = memory[b, h]
            for t in range(7):
                S = torch.zeros_like(S) if at is not None and at[b, t] else S
                key, value, a = k[b, h, t], v[b, h, t], log_decay[b, h, t].exp()
                erase = torch.eye(D) - beta[b, h, t] * torch.outer(key, key)
                S = a * erase @ S + beta[b, h, t] * torch.outer(key, value)
                torch.testing.assert_close(y[b, h, t], S.T @ q[b, h, t])
            torch.testing.assert_close(after[b, h], S)


@pytest.mark.parametrize("reset", [False, True])
def test_ssm_loop_is_the_sum_over_all_writes(reset) -> None:
    q, k, v, log_decay, memory, at = with_resets("ssm", 9, reset, ssm(9))
    y, after = ssm_loop(q, k, v, log_decay, memory, at)
    for b in range(B):
        for t in range(9):
            starts = [] if at is None else [s for s in range(t + 1) if at[b, s]]
            S = log_decay[b, : t + 1].sum(0).exp()[:, None, None] * memory[b]
            S = torch.zeros_like(S) if starts else S
            for s in range(max(starts, default=0), t + 1):
                left = log_decay[b, s + 1 : t + 1].sum(0).exp()
                S = S + left[:, None, None] * v[b, s][:, :, None] * k[b, s]
            torch.testing.assert_close(y[b, t], S @ q[b, t])
        torch.testing.assert_close(after[b], S)


def test_slot_loop_is_the_sum_over_all_writes() -> None:
    q, k, v, decay, weight, memory = with_resets("slots", 9, True, slots(9, 0.3))
    y, after = slot_loop(q, k, v, decay, weight, memory)
    keys_and_values = torch.cat([k, v], dim=-1)
    for t in range(9):
        held = decay[:, : t + 1].prod(1).unsqueeze(-1) * memory
        for s in range(t + 1):
            left = weight[:, s] * decay[:, s + 1 : t + 1].prod(1)
            held = held + left.unsqueeze(-1) * keys_and_values[:, s].unsqueeze(-2)
        keys, values = held.split([D, E], dim=-1)
        shares = (keys @ q[:, t].unsqueeze(-1)).softmax(-2)  # (B, H, M, 1)
        torch.testing.assert_close(y[:, t], (values.mT @ shares).squeeze(-1))
    torch.testing.assert_close(after, held)


# steps around the edges of a chunk; strengths that keep nearly all, about half, nothing
CASES = [("delta", steps, 1.0) for steps in (1, 63, 64, 65, 200)]
CASES += [
    (name, steps, strength)
    for name, weak in (("ssm", 0.01), ("slots", 0.05))
    for steps in (0, 1, 2, 5, 31, 32, 33, 100)
    for strength in (weak, 1.0, 300.0)
]


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize(("name", "steps", "strength"), CASES)
def test_chunks_are_the_loop_and_so_are_their_gradients(name, steps, strength, reset) -> None:
    inputs, *rules = RULES[name]
    given, found = with_resets(name, steps, reset, inputs(steps, strength)), []
    for rule in rules:
        leaves = [x.clone().requires_grad_() for x in given[: 6 if name != "ssm" else 5]]
        y, memory = rule(*leaves, *given[len(leaves) :])
        assert y.shape == leaves[2].shape
        loss = y.sin().sum() + memory.cos().sum()
        grads = torch.autograd.grad(loss, leaves, materialize_grads=True)
        found.append([y, memory, *grads])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-9)


@pytest.mark.parametrize("strength", [0.05, 1.0, 300.0])
@pytest.mark.parametrize("name", ["ssm", "slots"])
def test_single_precision_is_near(name, strength) -> None:
    inputs, _, chunks = RULES[name]
    given, found = with_resets(name, 300, True, inputs(300, strength)), []
    for dtype in (torch.float32, DOUBLE):
        leaves = [x.to(dtype).requires_grad_() for x in given[: 6 if name != "ssm" else 5]]
        y, memory = chunks(*leaves, *given[len(leaves) :])
        loss = y.sin().sum() + memory.cos().sum()
        found.append([y, memory, *torch.autograd.grad(loss, leaves)])
    for rough, fine in zip(*found):
        assert rough.isfinite().all()
        assert (rough - fine).norm() <= 1e-5 * fine.norm() + 1e-30  # below single precision's range


@pytest.mark.parametrize("reset", [False, True])
def test_a_delta_decay_to_nothing_leaves_finite_numbers(reset) -> None:
    given = with_resets("delta", 130, reset, delta(130, strength=100.0))
    leaves = [x.float().requires_grad_() for x in given[:6]]
    y, memory = delta_chunks(*leaves, given[6])
    torch.testing.assert_close(y, delta_loop(*leaves, given[6])[0], rtol=1e-4, atol=1e-4)
    for x in (y, memory, *torch.autograd.grad(y.sum() + memory.sum(), leaves)):
        assert x.isfinite().all()


@pytest.mark.parametrize("steps", [1, 63, 64, 65, 200])
def test_delta_rule_is_that_of_transformers(steps) -> None:
    """transformers scales q by D^-1/2, has time before heads, and computes in float32."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("transformers", minversion="4.57")
        from transformers.models.qwen3_next import modeling_qwen3_next as peer
    q, k, v, log_decay, beta, memory = (x.float() for x in delta(steps))
    there = [x.transpose(1, 2) for x in (q, k, v, log_decay, beta)]
    for theirs in (peer.torch_chunk_gated_delta_rule, peer.torch_recurrent_gated_delta_rule):
        y, after = theirs(*there, initial_state=memory, output_final_state=True)
        for ours in (delta_loop, delta_chunks):
            found, left = ours(q * D**-0.5, k, v, log_decay, beta, memory)
            torch.testing.assert_close(found, y.transpose(1, 2), rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(left, after, rtol=1e-4, atol=1e-5)
