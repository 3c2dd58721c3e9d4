"""Sparse delta memory: its rule against the dense rule, its addresses against a full search."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from ramgru.lab.peers import SparseDelta
from ramgru.lab.peers.sparse_delta import Touch, sparse_delta_rule

B, H, N, K, D, C = 2, 3, 7, 2, 4, 6


def touch(steps: int) -> Touch:
    cell = torch.rand(B, H, steps, N).argsort(-1)[..., :K]
    return Touch(cell, torch.rand(B, H, steps, K, dtype=torch.float64))


def dense(at: Touch) -> Tensor:
    """The weight of every cell, (B, H, T, N)."""
    nothing = torch.zeros(*at.cell.shape[:3], N, dtype=at.weight.dtype)
    return nothing.scatter(-1, at.cell, at.weight)


def loop(
    write: Touch, read: Touch, value: Tensor, rate: Tensor, memory: Tensor, reset: Tensor | None
) -> tuple[Tensor, Tensor]:
    """The delta rule over all cells, step by step."""
    a, r, outputs = dense(write), dense(read), []
    for t in range(value.shape[2]):
        if reset is not None:
            memory = memory * ~reset[:, t, None, None, None]
        found = torch.einsum("bhn,bhnd->bhd", a[:, :, t], memory)
        u = rate[:, :, t, None] * (value[:, :, t] - found)
        memory = memory + torch.einsum("bhn,bhd->bhnd", a[:, :, t], u)
        outputs.append(torch.einsum("bhn,bhnd->bhd", r[:, :, t], memory))
    return torch.stack(outputs, dim=2), memory


@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize("steps", [1, 15, 16, 17, 50])
def test_rule_is_the_dense_one_and_so_are_its_gradients(steps, resets) -> None:
    write, read = touch(steps), touch(steps)
    value, rate = torch.randn(B, H, steps, D).double(), torch.rand(B, H, steps).double()
    memory, reset = torch.randn(B, H, N, D).double(), None
    if resets:
        reset = torch.rand(B, steps) < 0.1
        reset[0, 0] = reset[1, -1] = True
    found = []
    for rule in (sparse_delta_rule, loop):
        leaves = [z.clone().requires_grad_() for z in (write.weight, read.weight, value, rate)]
        a, r, v, b = leaves
        before = memory.clone().requires_grad_()
        y, after = rule(Touch(write.cell, a), Touch(read.cell, r), v, b, before, reset)
        grads = torch.autograd.grad(y.sin().sum() + after.cos().sum(), [*leaves, before])
        found.append([y, after, *grads])
    for one, other in zip(*found):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-10)


def test_addresses_are_the_best_of_all_cells() -> None:
    layer = SparseDelta(C, cells=49, top_k=5, heads=2, key_size=8).double()
    query = torch.randn(B, 11, 16, dtype=torch.float64)
    at = layer._touch(query)
    halves = rms_norm(query.view(B, 11, 2, 2, 4), (4,), eps=1e-6)
    for h in range(2):
        score = torch.stack(
            [
                halves[:, :, h, 0] @ layer.codes[h, 0, n // 7]
                + halves[:, :, h, 1] @ layer.codes[h, 1, n % 7]
                for n in range(49)
            ],
            dim=-1,
        )
        best, cell = score.topk(5, dim=-1)
        assert torch.equal(at.cell[:, h], cell)
        weight = best.softmax(-1)
        torch.testing.assert_close(at.weight[:, h], weight / weight.norm(dim=-1, keepdim=True))


def test_a_whole_write_is_read_exactly_at_its_address() -> None:
    at = SparseDelta(C, cells=49, heads=H)._touch(torch.randn(B, 1, H * 32))
    value, rate = torch.randn(B, H, 1, D), torch.ones(B, H, 1)
    memory = torch.randn(B, H, 49, D)
    y, after = sparse_delta_rule(at, at, value, rate, memory)
    torch.testing.assert_close(y, value)
    touched = (after != memory).any(-1).sum(-1)
    assert (touched == 4).all()


def test_a_step_overwrites_the_memory_and_a_sequence_does_not() -> None:
    layer = SparseDelta(C, cells=16, heads=2).double().requires_grad_(False)
    x = torch.randn(3, 8, C, dtype=torch.float64)
    state = layer.initial_state(3)
    for t in range(8):
        given, was = state.memory, state.memory.clone()
        layer(x[:, t : t + 1], state)
        assert torch.equal(given, was)
        _, state = layer.step_(x[:, t], state)
        assert state.memory.data_ptr() == given.data_ptr()
        assert not torch.equal(given, was)


def test_a_memory_that_a_gradient_needs_is_not_overwritten() -> None:
    layer = SparseDelta(C, cells=16)
    x, first = torch.randn(2, 3, C), layer.initial_state(2)
    _, state = layer.step_(x[:, 0], first)
    assert not first.memory.any()
    y, _ = layer.step_(x[:, 1], state)
    y.sum().backward()
    assert layer.value.weight.grad is not None


def test_the_loop_makes_nothing_of_the_size_of_the_memory() -> None:
    """Backward needs a few numbers a touched cell, not a copy of the memory a step."""
    kept = []
    layer = SparseDelta(C, cells=2**16, key_size=8)
    x, state = torch.randn(1, 64, C), layer.initial_state(1)

    def note(z: Tensor) -> Tensor:
        kept.append(z.untyped_storage().nbytes() // z.itemsize)
        return z

    with torch.autograd.graph.saved_tensors_hooks(note, lambda z: z):
        layer(x, state)
    assert 16 * 16 * 4 < max(kept) < 2**16


def test_a_step_writes_at_first_where_the_step_before_it_read() -> None:
    """So a value that follows its key is found when the key returns."""
    layer, x = SparseDelta(C, key_size=16, top_k=8), torch.randn(1, 200, C)
    query = layer.query(x)
    context = layer.convolution.initial_state(1)
    mixed, _ = layer.convolution(torch.cat([query, query, layer.value(x)], 2), context, None, None)
    write, read, _ = mixed.split(layer.widths, dim=2)
    wrote, before, now = layer._touch(write[:, 1:]), layer._touch(read[:, :-1]), layer._touch(read)
    shared = [
        (wrote.cell.unsqueeze(-1) == there.unsqueeze(-2)).any(-1).float().mean()
        for there in (before.cell, now.cell[:, :, 1:])
    ]
    assert shared[0] > 4 * shared[1]
