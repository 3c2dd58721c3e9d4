"""The Neural Turing Machine beside its paper's equations, cell by cell, in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ramgru.lab.peers import NTM
from ramgru.lab.peers.external_memory import look_up, lstm
from ramgru.lab.peers.ntm import NTMState

C, N, W = 6, 5, 3


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x))
    return e / e.sum()


def lstm_step(gates: Any, cell: Any) -> tuple[Any, Any]:
    i, f, o, candidate = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(cell), cell


def content(key: Any, strength: float, memory: Any) -> Any:
    """(5) and (6), the cosine with 1e-6 beside both squared lengths."""
    alike = [
        key @ row / np.sqrt((key @ key + 1e-6) * (row @ row + 1e-6)) for row in memory
    ]  # fmt: skip
    return softmax(strength * np.array(alike))


def weighting(before: Any, memory: Any, key: Any, beta: Any, g: Any, s: Any, gamma: Any) -> Any:
    """(5) to (9); s[j] is the share that moves by j - 1 cells."""
    gated = g * content(key, beta, memory) + (1 - g) * before
    shifted = np.zeros(N)
    for i in range(N):
        for j in range(N):
            for move in (-1, 0, 1):
                if (j + move) % N == i:
                    shifted[i] += gated[j] * s[move + 1]
    return shifted**gamma / (shifted**gamma).sum()


def naive(layer: Any, x: Any) -> tuple[Any, Any, Any]:
    """One sequence x (T, C) -> outputs (T, C), the memory and the weights after it."""
    R = layer.heads
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    memory = np.full((N, W), 1e-6)
    weights = np.zeros((2 * R, N))
    weights[:, 0] = 1
    reads, h, cell = np.zeros(R * W), np.zeros(layer.hidden_size), np.zeros(layer.hidden_size)
    outputs = []
    for t in range(len(x)):
        seen = np.concatenate([reads, h]) if layer.controller == "lstm" else reads
        units = p["input.weight"] @ x[t] + p["input.bias"] + seen @ p["recurrent"]
        h, cell = lstm_step(units, cell) if layer.controller == "lstm" else (np.tanh(units), cell)
        told = p["interface.weight"] @ h + p["interface.bias"]
        parts = np.split(told, np.cumsum([2 * R * W, R * W, 2 * R, R * W, 2 * R, 2 * R]))
        keys, adds, mix, erase, beta, gamma, shift = parts
        keys, adds, erase = (v.reshape(-1, W) for v in (keys, adds, erase))
        weights = np.stack(
            [
                weighting(
                    weights[k],
                    memory,
                    np.tanh(keys[k]),
                    softplus(beta[k]),
                    sigmoid(mix[k]),
                    softmax(shift.reshape(-1, 3)[k]),
                    1 + softplus(gamma[k]),
                )
                for k in range(2 * R)
            ]
        )
        for k in range(R):  # (3): all erase
            for i in range(N):
                memory[i] = memory[i] * (1 - weights[k, i] * sigmoid(erase[k]))
        for k in range(R):  # (4): and then all add
            for i in range(N):
                memory[i] = memory[i] + weights[k, i] * np.tanh(adds[k])
        reads = np.concatenate([weights[R + k] @ memory for k in range(R)])  # (2)
        outputs.append(p["project.weight"] @ np.concatenate([reads, h]))
    return np.stack(outputs), memory, weights


@pytest.mark.parametrize("controller", ["lstm", "feedforward"])
@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_its_papers_equations(heads, controller) -> None:
    layer = NTM(C, 7, cells=N, width=W, heads=heads, controller=controller).double()
    with torch.no_grad():  # gates that open and shut, heads that move
        layer.interface.weight.mul_(6)
    x = torch.randn(3, 12, C, dtype=torch.float64)
    y, state = layer(x, None)
    for b in range(3):
        expected, memory, weights = naive(layer, x[b].numpy())
        torch.testing.assert_close(y[b].detach(), torch.from_numpy(expected), rtol=0, atol=1e-10)
        close = {"rtol": 0, "atol": 1e-10}
        torch.testing.assert_close(state.memory[b].detach(), torch.from_numpy(memory), **close)
        torch.testing.assert_close(state.weights[b].detach(), torch.from_numpy(weights), **close)
    assert state.weights.sum(2).sub(1).abs().max() < 1e-12


def test_lstm_is_torchs() -> None:
    twin = torch.nn.LSTMCell(C, 4)
    x, h, cell = torch.randn(2, C), torch.randn(2, 4), torch.randn(2, 4)
    gates = x @ twin.weight_ih.T + h @ twin.weight_hh.T + twin.bias_ih + twin.bias_hh
    i, f, candidate, o = gates.chunk(4, dim=1)  # torch's order
    ours = lstm(torch.cat([i, f, o, candidate], dim=1), cell)
    for one, other in zip(ours, twin(x, (h, cell))):
        torch.testing.assert_close(one, other)


def test_a_strong_key_finds_its_cell_and_an_empty_memory_favours_none() -> None:
    memory = torch.randn(2, N, W)
    there = look_up(memory[:, 2:4], torch.full((2, 2), 1e4), memory)
    torch.testing.assert_close(there, torch.eye(N)[2:4].expand(2, -1, -1))
    anywhere = look_up(torch.randn(2, 1, W), torch.full((2, 1), 5.0), torch.zeros(2, N, W))
    torch.testing.assert_close(anywhere, torch.full((2, 1, N), 1 / N))


def told(layer: NTM, shift: int) -> NTM:
    """The layer with heads that only move by `shift` cells a step, sharply."""
    with torch.no_grad():
        layer.interface.weight.zero_()
        _, gates, strengths, shifts = layer.interface.bias.zero_().split(layer.sizes)
        gates[: 2 * layer.heads] = -100  # g: no look at the content
        strengths.fill_(50)
        shifts.view(-1, 3)[:, 1 + shift] = 100
    return layer


@pytest.mark.parametrize("shift", [-1, 0, 1])
def test_heads_walk_around_the_memory(shift) -> None:
    layer, state = told(NTM(C, cells=N, width=W), shift), None
    for t in range(1, 2 * N):
        _, state = layer(torch.randn(1, 1, C), state)
        assert isinstance(state, NTMState)
        expected = torch.eye(N)[t * shift % N].expand(2, N)
        torch.testing.assert_close(state.weights[0], expected)
