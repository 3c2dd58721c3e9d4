"""The Differentiable Neural Computer beside the Methods of its paper, as loops in numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ramgru.lab.peers import DNC
from ramgru.lab.peers.dnc import allocation, linked, used

C, N, W = 6, 5, 3


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def oneplus(x: Any) -> Any:
    return 1 + np.log1p(np.exp(x))


def softmax(x: Any) -> Any:
    e = np.exp(x - np.max(x))
    return e / e.sum()


def content(memory: Any, key: Any, strength: float) -> Any:
    """The cosine with 1e-6 beside both squared lengths."""
    alike = [key @ m / np.sqrt((key @ key + 1e-6) * (m @ m + 1e-6)) for m in memory]
    return softmax(strength * np.array(alike))


def allocated(usage: Any) -> Any:
    """By the free list: the paper's definition."""
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


def naive(layer: Any, x: Any) -> tuple[Any, dict[str, Any]]:
    """One sequence x (T, C) -> outputs (T, C), and what it carries after them."""
    R, H = layer.heads, layer.hidden_size
    p = {name: value.detach().numpy() for name, value in layer.named_parameters()}
    memory, link, usage, precedence = np.zeros((N, W)), np.zeros((N, N)), np.zeros(N), np.zeros(N)
    writes, reads = np.zeros(N), np.zeros((R, N))
    context, cell = np.zeros(R * W + H), np.zeros(H)
    outputs = []
    for t in range(len(x)):
        units = p["input.weight"] @ x[t] + p["input.bias"] + context @ p["recurrent"]
        enters, stays, leaves, candidate = np.split(units, 4)
        cell = sigmoid(stays) * cell + sigmoid(enters) * np.tanh(candidate)
        h = sigmoid(leaves) * np.tanh(cell)
        told = p["interface.weight"] @ h + p["interface.bias"]
        at = np.cumsum([W, R * W, W, 1, R, W, R, 1, 1])
        key, keys, add, beta, betas, erase, free, allocate, write, modes = np.split(told, at)

        retention = np.ones(N)
        for i in range(R):
            retention *= 1 - sigmoid(free[i]) * reads[i]
        usage = (usage + writes - usage * writes) * retention
        g = sigmoid(allocate[0])
        at_key = content(memory, key, oneplus(beta[0]))
        writes = sigmoid(write[0]) * (g * allocated(usage) + (1 - g) * at_key)
        for n in range(N):
            memory[n] = memory[n] * (1 - writes[n] * sigmoid(erase)) + writes[n] * add
        link, precedence = relinked(link, precedence, writes)
        new = np.zeros_like(reads)
        for i in range(R):
            mode = softmax(modes.reshape(R, 3)[i])
            by_content = content(memory, keys.reshape(R, W)[i], oneplus(betas[i]))
            new[i] = mode[0] * (link.T @ reads[i]) + mode[1] * by_content
            new[i] += mode[2] * (link @ reads[i])
        reads = new
        context = np.concatenate([*(reads[i] @ memory for i in range(R)), h])
        outputs.append(p["project.weight"] @ context)
    state = {"memory": memory, "usage": usage, "precedence": precedence, "link": link}
    return np.stack(outputs), state | {"writes": writes[None], "reads": reads, "context": context}


def close(found: Tensor, expected: Any, atol: float = 1e-8) -> None:
    torch.testing.assert_close(found.detach(), torch.as_tensor(expected), rtol=0, atol=atol)


@pytest.mark.parametrize("heads", [1, 2])
def test_layer_is_its_papers_equations(heads) -> None:
    layer = DNC(C, 7, cells=N, width=W, heads=heads).double()
    with torch.no_grad():  # gates that open and shut
        layer.interface.weight.mul_(6)
    x = torch.randn(3, 12, C, dtype=torch.float64)
    y, state = layer(x, None)
    for b in range(3):
        expected, after = naive(layer, x[b].numpy())
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
