"""The Neural Turing Machine and the Differentiable Neural Computer against loops in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ramgru.lab.peers import DNC, NTM
from ramgru.lab.peers.dnc import allocation, linked, used
from ramgru.lab.peers.external_memory import look_up, lstm
from ramgru.lab.peers.ntm import NTMState

C, N, W = 6, 5, 3


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.log1p(np.exp(x))


def oneplus(x: Any) -> Any:
    return 1 + softplus(x)


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x))
    return e / e.sum()


def lstm_step(gates: Any, cell: Any) -> tuple[Any, Any]:
    i, f, o, candidate = np.split(gates, 4)
    cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(candidate)
    return sigmoid(o) * np.tanh(cell), cell


def content(key: Any, strength: float, memory: Any) -> Any:
    """softmax(strength · cosine), with 1e-6 added to both squared lengths."""
    alike = [key @ m / np.sqrt((key @ key + 1e-6) * (m @ m + 1e-6)) for m in memory]
    return softmax(strength * np.array(alike))


def close(found: Tensor, expected: Any, atol: float = 1e-8) -> None:
    torch.testing.assert_close(found.detach(), torch.as_tensor(expected), rtol=0, atol=atol)


def weighting(before: Any, memory: Any, key: Any, beta: Any, g: Any, s: Any, gamma: Any) -> Any:
    """Equations (5) to (9); s[j] is the share that moves by j - 1 cells."""
    gated = g * content(key, beta, memory) + (1 - g) * before
    shifted = np.zeros(N)
    for i in range(N):
        for j in range(N):
            for move in (-1, 0, 1):
                if (j + move) % N == i:
                    shifted[i] += gated[j] * s[move + 1]
    return shifted**gamma / (shifted**gamma).sum()


def naive_ntm(layer: Any, x: Any) -> tuple[Any, Any, Any]:
    """One sequence x (T, C) -> outputs (T, C), the final memory and weights."""
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
def test_ntm_is_its_papers_equations(heads, controller) -> None:
    layer = NTM(C, 7, cells=N, width=W, heads=heads, controller=controller).double()
    with torch.no_grad():  # gates that open and shut, heads that move
        layer.interface.weight.mul_(6)
    x = torch.randn(3, 12, C, dtype=torch.float64)
    y, state = layer(x, None)
    for b in range(3):
        expected, memory, weights = naive_ntm(layer, x[b].numpy())
        close(y[b], expected, atol=1e-10)
        close(state.memory[b], memory, atol=1e-10)
        close(state.weights[b], weights, atol=1e-10)
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
    """The layer with heads that do nothing but move by `shift` cells a step."""
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


def allocated(usage: Any) -> Any:
    """The paper's definition, by the sorted free list."""
    free_list = np.argsort(usage, kind="stable")
    found = np.zeros(N)
    for j, cell in enumerate(free_list):
        found[cell] = (1 - usage[cell]) * np.prod([usage[free_list[i]] for i in range(j)])
    return found


def relinked(link: Any, precedence: Any, writes: Any) -> tuple[Any, Any]:
    new = np.zeros((N, N))
    for i in range(N):
        for j in range(N):
            if i != j:
                new[i, j] = (1 - writes[i] - writes[j]) * link[i, j] + writes[i] * precedence[j]
    return new, (1 - writes.sum()) * precedence + writes


def naive_dnc(layer: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    """One sequence x (T, C) -> outputs (T, C), and the final state."""
    R, H = layer.heads, layer.hidden_size
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    memory, link, usage, precedence = np.zeros((N, W)), np.zeros((N, N)), np.zeros(N), np.zeros(N)
    writes, reads = np.zeros(N), np.zeros((R, N))
    context, cell = np.zeros(R * W + H), np.zeros(H)
    outputs = []
    for t in range(len(x)):
        units = p["input.weight"] @ x[t] + p["input.bias"] + context @ p["recurrent"]
        h, cell = lstm_step(units, cell)
        told = p["interface.weight"] @ h + p["interface.bias"]
        at = np.cumsum([W, R * W, W, 1, R, W, R, 1, 1])
        key, keys, add, beta, betas, erase, free, allocate, write, modes = np.split(told, at)

        retention = np.ones(N)
        for i in range(R):
            retention *= 1 - sigmoid(free[i]) * reads[i]
        usage = (usage + writes - usage * writes) * retention
        g = sigmoid(allocate[0])
        at_key = content(key, oneplus(beta[0]), memory)
        writes = sigmoid(write[0]) * (g * allocated(usage) + (1 - g) * at_key)
        for n in range(N):
            memory[n] = memory[n] * (1 - writes[n] * sigmoid(erase)) + writes[n] * add
        link, precedence = relinked(link, precedence, writes)
        new = np.zeros_like(reads)
        for i in range(R):
            mode = softmax(modes.reshape(R, 3)[i])
            by_content = content(keys.reshape(R, W)[i], oneplus(betas[i]), memory)
            new[i] = mode[0] * (link.T @ reads[i]) + mode[1] * by_content
            new[i] += mode[2] * (link @ reads[i])
        reads = new
        context = np.concatenate([*(reads[i] @ memory for i in range(R)), h])
        outputs.append(p["project.weight"] @ context)
    state = {"memory": memory, "usage": usage, "precedence": precedence, "link": link}
    return np.stack(outputs), state | {"writes": writes[None], "reads": reads, "context": context}


@pytest.mark.parametrize("heads", [1, 2])
def test_dnc_is_its_papers_equations(heads) -> None:
    layer = DNC(C, 7, cells=N, width=W, heads=heads).double()
    with torch.no_grad():  # gates that open and shut
        layer.interface.weight.mul_(6)
    x = torch.randn(3, 12, C, dtype=torch.float64)
    y, state = layer(x, None)
    for b in range(3):
        expected, after = naive_dnc(layer, x[b].numpy())
        close(y[b], expected)
        for name, value in after.items():
            close(getattr(state, name)[b], value)


def test_allocation_is_that_of_the_sorted_free_list() -> None:
    usage = torch.rand(50, N, dtype=torch.float64)
    usage[0], usage[1], usage[2] = 0, 1, torch.tensor([0.5, 0, 0.5, 1, 0])
    for row, found in zip(usage, allocation(usage)):
        close(found, allocated(row.numpy()))
        assert 0 <= found.sum() <= 1 + 1e-9
    close(allocation(usage)[0], np.eye(N)[0])  # of a memory that is free the first cell, whole
    assert not allocation(usage)[1].any()  # nothing of one that is full


def test_cells_that_differ_by_rounding_are_taken_in_order() -> None:
    usage = torch.full((1, N), 0.3, dtype=torch.float64)
    by_rounding = usage - 1e-16 * torch.arange(N)
    assert by_rounding[0, -1] < by_rounding[0, 0]
    close(allocation(by_rounding), allocation(usage), atol=1e-14)


def test_allocation_has_the_gradient_of_the_formula() -> None:
    usage = torch.tensor([[0.9, 0.2, 0.5, 0.7, 0.1]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(allocation, usage)


def test_links_and_precedence_are_the_papers_and_stay_shares() -> None:
    link, precedence = torch.zeros(4, N, N, dtype=torch.float64), torch.zeros(4, N).double()
    apart = 1 - torch.eye(N, dtype=torch.float64)
    for _ in range(20):
        writes = torch.rand(4, 1).double() * torch.rand(4, N).double().mul(4).softmax(1)
        expected = [relinked(*(z[b].numpy() for z in (link, precedence, writes))) for b in range(4)]
        link, precedence = linked(link, precedence, writes, apart)
        for b in range(4):
            close(link[b], expected[b][0])
            close(precedence[b], expected[b][1])
        for shares in (link.sum(1), link.sum(2), precedence.sum(1)):
            assert 0 <= shares.min() <= shares.max() <= 1 + 1e-12
    assert link.amax() > 0.01
    assert not link.diagonal(dim1=1, dim2=2).any()


def test_sharp_writes_link_each_cell_to_the_one_before() -> None:
    link, precedence, apart = torch.zeros(1, N, N), torch.zeros(1, N), 1 - torch.eye(N)
    order = [3, 0, 4, 1]
    for cell in order:
        link, precedence = linked(link, precedence, torch.eye(N)[cell : cell + 1], apart)
    expected = torch.zeros(N, N)
    expected[order[1:], order[:-1]] = 1
    assert torch.equal(link[0], expected)
    assert torch.equal(precedence[0], torch.eye(N)[order[-1]])


def test_what_is_written_is_in_use_until_a_read_frees_it() -> None:
    first, second = torch.eye(N)[0:1], torch.eye(N)[1:2]
    usage = used(torch.zeros(1, N), first, torch.zeros(1, 1), torch.zeros(1, 1, N))
    usage = used(usage, second, torch.zeros(1, 1), first.unsqueeze(0))
    assert torch.equal(usage, first + second)
    usage = used(usage, torch.zeros(1, N), torch.ones(1, 1), first.unsqueeze(0))
    assert torch.equal(usage, second)
