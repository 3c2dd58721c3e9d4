"""A memory that is carried from chunk to chunk in a table has the numbers of a copied memory."""

from __future__ import annotations

import copy
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from layer_cases import MIXED
from torch import Tensor

from ramgru import RAMGRU, Memory, RAMGRUState
from ramgru.kernels import native

pytestmark = pytest.mark.skipif(not native.supported(), reason="tables are native")
CHUNK = 4
Numbers = list[Tensor]


def make(
    cells: int = 64, learned_start: bool = False, heads: str = MIXED, num_layers: int = 1
) -> RAMGRU:
    memory = Memory(cells=cells, heads=heads, writes=2, reads=4, learned_start=learned_start)
    return RAMGRU(3, 4, num_layers, True, True, dtype=torch.float64, memory=memory, carry="state")


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def laid_out(state: RAMGRUState) -> RAMGRUState:
    """The same in plain tensors, as one that was saved and loaded."""
    return state.map(Tensor.clone)


def train(
    layer: RAMGRU, x: Tensor, state: RAMGRUState | None, **options: Tensor
) -> tuple[Numbers, RAMGRUState]:
    """-> output and gradients of a chunk, and the state after it, detached"""
    layer.zero_grad()
    y, after = layer(x, state, **options)
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    grads = [p.grad.clone() for p in layer.parameters() if p.grad is not None]
    return [y.detach(), *grads], after.detach()


def assert_same(actual: Numbers, expected: Numbers) -> None:
    for a, b in zip(actual, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def in_tables(state: RAMGRUState) -> bool:
    return all(m.held is not None for m in state.memory)


options = pytest.mark.parametrize("cells", [64, 4096], ids=["all_places", "hashed"])


@options
@pytest.mark.parametrize("learned_start", [False, True], ids=["zeros", "learned_start"])
@pytest.mark.parametrize("ragged", [False, True], ids=["whole", "resets_and_lengths"])
def test_chunks_have_the_numbers_of_the_whole_memory(
    cells: int, learned_start: bool, ragged: bool
) -> None:
    layer = make(cells, learned_start, num_layers=2)
    state, expected = layer.initial_state(3).detach(), layer.initial_state(3).detach()
    for n in range(8):
        given = {}
        if ragged:
            given["lengths"] = torch.tensor([CHUNK, n % (CHUNK + 1), 2])
            given["reset"] = torch.rand(3, CHUNK) < 0.1
        x = normal(3, CHUNK, 3)
        numbers, state = train(layer, x, state, **given)
        with native.use(native.PORTABLE):
            reference, expected = train(layer, x, expected, **given)
        assert_same(numbers, reference)
    assert in_tables(state)
    assert_same([laid_out(state).to_tensor()], [expected.to_tensor()])
    assert_same([copy.deepcopy(state).compact().to_tensor()], [expected.to_tensor()])


@options
def test_a_state_stays_as_it_is_whatever_goes_on_from_it(cells: int) -> None:
    """Each state of a stream is used again, the oldest last, and gives what its copy gives."""
    layer, x = make(cells), normal(2, 5 * CHUNK, 3)
    states, copies = [layer.initial_state(2).detach()], [layer.initial_state(2).detach()]
    for chunk in x.split(CHUNK, dim=1):
        reset = torch.rand(2, CHUNK) < 0.1
        _, after = train(layer, chunk, states[-1], reset=reset)
        _, expected = train(layer, chunk, laid_out(copies[-1]), reset=reset)
        states.append(after)
        copies.append(laid_out(expected))
    probe = normal(2, CHUNK, 3)
    for state, expected in [*zip(states, copies)][::-1]:
        assert_same(train(layer, probe, state)[0], train(layer, probe, laid_out(expected))[0])
    for state, expected in zip(states, copies):
        assert torch.equal(state.to_tensor(), expected.to_tensor())


@options
def test_a_graph_through_several_chunks(cells: int) -> None:
    # Without learned heads, whose keys learn from the steps of one call.
    layer, x = make(cells, heads="key:2:write_after=2 key tape tape"), normal(2, 6 * CHUNK, 3)
    results = []
    for cut in (CHUNK, 3 * CHUNK):
        with torch.no_grad():
            _, state = layer(x[:, : 3 * CHUNK], layer.initial_state(2))
        layer.zero_grad()
        outputs = []
        for chunk in x[:, 3 * CHUNK :].split(cut, dim=1):
            y, state = layer(chunk, state)
            outputs.append(y)
        flat = state.to_tensor()
        (torch.cat(outputs, dim=1).square().sum() + flat.square().sum()).backward()
        grads = [p.grad for p in layer.parameters() if p.grad is not None]
        results.append([torch.cat(outputs, dim=1), *grads, flat, state.detach().to_tensor()])
    assert_same(results[0], results[1])


def test_backward_after_the_stream_went_on() -> None:
    layer, x = make(), normal(2, 6 * CHUNK, 3)
    _, state = train(layer, x[:, : 4 * CHUNK], None)
    _, state = train(layer, x[:, 4 * CHUNK : 5 * CHUNK], state)
    assert in_tables(state)
    last = x[:, 5 * CHUNK :]
    expected, _ = train(layer, last, laid_out(state))
    layer.zero_grad()
    y, after = layer(last, state)
    with torch.no_grad():
        _, after = layer(last, after.detach())
    (y * torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    assert_same([y.detach(), *(p.grad for p in layer.parameters() if p.grad is not None)], expected)


def test_threads_go_on_from_one_state() -> None:
    layer, x = make(4096), normal(8, 2, CHUNK, 3)
    with torch.no_grad():
        state = layer(normal(2, 40, 3), layer.initial_state(2))[1]
        state = layer(normal(2, CHUNK, 3), state)[1]
        assert in_tables(state)
        expected = [layer(chunk, laid_out(state))[0] for chunk in x]
    with torch.no_grad(), ThreadPoolExecutor(4) as pool:
        found = [*pool.map(lambda chunk: _without_grad(layer, chunk, state), x)]
    assert_same(found, expected)


def _without_grad(layer: RAMGRU, x: Tensor, state: RAMGRUState) -> Tensor:
    with torch.no_grad():
        return layer(x, state)[0]


def test_second_derivatives() -> None:
    layer, x = make(), normal(2, 5 * CHUNK, 3)
    with torch.no_grad():
        _, state = layer(x[:, : 4 * CHUNK], layer.initial_state(2))
    last = x[:, 4 * CHUNK :].requires_grad_()

    def second(given: RAMGRUState) -> Tensor:
        y, _ = layer(last, given)
        (grad,) = torch.autograd.grad(y.square().sum(), last, create_graph=True)
        (again,) = torch.autograd.grad(grad.square().sum(), last)
        return again

    with native.use(native.PORTABLE):
        expected = second(laid_out(state))
    assert_same([second(state)], [expected])


@options
@pytest.mark.parametrize("learned_start", [False, True], ids=["zeros", "learned_start"])
@torch.no_grad()
def test_steps_leave_their_state_as_it_is(cells: int, learned_start: bool) -> None:
    """Functional steps, chunks and steps of a stream in turn; every state is used again."""
    layer, states = make(cells, learned_start, num_layers=2), []
    state, expected = layer.initial_state(3), layer.initial_state(3, dense=True)
    for n in range(12):
        x, reset = normal(3, CHUNK, 3), torch.tensor([n % 5 == 3, False, n == 7])
        states.append((state, laid_out(expected)))
        if n % 3 == 2:
            y, state = layer(x, state)
            other, expected = layer(x, laid_out(expected))
            assert_same([y], [other])
            continue
        y, state = layer.step(x[:, 0], state)
        other, expected = layer.step_(x[:, 0], laid_out(expected).dense())
        assert_same([y], [other])
        y, state = layer.step_(x[:, 1], state, reset=reset)
        other, expected = layer._general_step_(x[:, 1], laid_out(expected), reset)
        assert_same([y], [other])
    assert in_tables(state)
    probe = normal(3, 3)
    states = [pair for n, pair in enumerate(states) if n % 3 != 1]  # `step_` uses a state up
    for before, copy_ in states[::-1]:
        other, _ = layer.step_(probe, laid_out(copy_).dense())
        assert_same([layer.step(probe, before)[0]], [other])
        assert_same([before.to_tensor()], [copy_.to_tensor()])


def test_what_inference_mode_made_is_trained_on() -> None:
    layer, x = make(num_layers=2), normal(2, 6 * CHUNK, 3)
    with torch.inference_mode():
        _, state = layer(x[:, : 3 * CHUNK], layer.initial_state(2))
        _, state = layer(x[:, 3 * CHUNK : 4 * CHUNK], state)
    assert in_tables(state)
    kept = RAMGRUState(state.hidden.clone(), tuple(
        m.with_held(m.held, {k: v.clone() for k, v in m.carried.items()}) for m in state.memory
    ))  # fmt: skip
    reset = torch.rand(2, CHUNK) < 0.2
    found, after = train(layer, x[:, 4 * CHUNK : 5 * CHUNK], kept, reset=reset)
    expected, other = train(layer, x[:, 4 * CHUNK : 5 * CHUNK], laid_out(kept), reset=reset)
    assert_same(found, expected)
    assert_same([after.to_tensor()], [other.to_tensor()])
