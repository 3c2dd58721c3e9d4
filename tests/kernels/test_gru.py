"""The native GRU against `nn.GRU` and against the readable loop, on every instruction set."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ramgru.kernels import native
from ramgru.kernels.recurrence import gru
from ramgru.kernels.recurrence.reference import gru as reference

SIZES = list(itertools.product((1, 15, 16, 17, 50), (1, 2, 7, 8, 9, 17), (1, 2, 9)))
# With one unit, terms of a gradient can cancel: torch's own float32 is then 4e-6 away as well.
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-12}
every_isa = pytest.mark.parametrize("isa", native.supported())
dtypes = pytest.mark.parametrize("dtype", TOLERANCE, ids=str)

pytestmark = pytest.mark.skipif(not native.supported(), reason="the native kernels are not built")


@pytest.fixture
def set_threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


def inputs(B: int, T: int, H: int, dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """projected, initial, weight_hh, bias_hh"""
    shapes = ((B, T, 3 * H), (B, H), (3 * H, H), (3 * H,))
    scales = (1, 1, 0.5 * H**-0.5, 1)  # larger weights would amplify roundings, in torch as well
    made = (scale * torch.randn(shape) for shape, scale in zip(shapes, scales))
    return [x.to(dtype).requires_grad_() for x in made]


def ragged(B: int, T: int) -> tuple[Tensor, Tensor]:
    """reset (B, T), lengths (B,) from 0 to T"""
    return torch.rand(B, T) < 0.3, torch.randint(T + 1, (B,))


def results(
    function: Callable[..., tuple[Tensor, ...]],
    given: list[Tensor],
    upstream: list[Tensor],
    *rest: Any,
) -> list[Tensor]:
    """The states, the last state, and the gradients of all inputs in `given`."""
    found = function(*given, *rest)
    loss = sum((y * g.to(y.dtype)).sum() for y, g in zip(found, upstream))
    return [*found, *torch.autograd.grad(loss, given, materialize_grads=True)]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    """The norm of each error, relative to the norm of the expected tensor or to 1."""
    for n, (ours, theirs) in enumerate(zip(found, expected, strict=True)):
        error = (ours.double() - theirs).norm() / theirs.norm().clamp_min(1)
        assert error <= tolerance, (n, tuple(theirs.shape), error.item())


@every_isa
@dtypes
def test_numbers_of_nn_gru(isa: str, dtype: torch.dtype) -> None:
    for H, B, T in SIZES:
        theirs = nn.GRU(3, H, batch_first=True, dtype=dtype)
        weight_ih, *recurrent = (p.detach().clone().requires_grad_() for p in theirs.parameters())
        weight_hh, bias_ih, bias_hh = recurrent
        theirs.double()
        x, initial = torch.randn(B, T, 3, dtype=dtype), torch.randn(B, H, dtype=dtype)
        start = initial.double().unsqueeze(0).requires_grad_()
        initial.requires_grad_()
        upstream = torch.randn(B, T, H), torch.randn(B, H)
        y, h_n = theirs(x.double(), start)
        expected = [y, h_n[0]]
        loss = (y * upstream[0]).sum() + (h_n[0] * upstream[1]).sum()
        grads = torch.autograd.grad(loss, [start, *theirs.parameters()])
        expected += [grads[0][0], *grads[1:]]
        with native.use(isa):
            projected = nn.functional.linear(x, weight_ih, bias_ih)
            found = [*gru(projected, initial, weight_hh, bias_hh, None, None)]
            loss = sum((y * g.to(dtype)).sum() for y, g in zip(found, upstream))
            leaves = [initial, weight_ih, weight_hh, bias_ih, bias_hh]
            found += torch.autograd.grad(loss, leaves)
        assert_close(found, expected, TOLERANCE[dtype])


@every_isa
@dtypes
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no_bias"])
def test_resets_and_lengths(isa: str, dtype: torch.dtype, bias: bool) -> None:
    for n, (H, B, T) in enumerate(SIZES):
        given = inputs(B, T, H, dtype)
        upstream = [torch.randn(B, T, H), torch.randn(B, H)]
        reset, lengths = ragged(B, T)
        exact = [x.detach().double().requires_grad_() for x in given]
        rest: tuple[Tensor | None, ...] = ((reset, lengths), (reset, None), (None, lengths))[n % 3]
        if not bias:
            given, exact, rest = given[:3], exact[:3], (None, *rest)
        with native.use(isa):
            found = results(gru, given, upstream, *rest)
        assert_close(found, results(reference, exact, upstream, *rest), TOLERANCE[dtype])


@every_isa
def test_padding_is_never_read_and_gives_zeros(isa: str) -> None:
    B, T, H = 9, 7, 17
    given = inputs(B, T, H, torch.float32)
    reset, lengths = ragged(B, T)
    behind = torch.arange(T) >= lengths.unsqueeze(1)
    upstream = [torch.randn(B, T, H), torch.randn(B, H)]
    with native.use(isa):
        clean = results(gru, given, upstream, reset, lengths)
        with torch.no_grad():
            given[0][behind] = torch.nan
        upstream[0][behind] = torch.inf
        states, last = gru(*given, reset | behind, lengths)
        grads = torch.autograd.grad([states, last], given, upstream)
    for ours, theirs in zip((states, last, *grads), clean):
        assert torch.equal(ours, theirs)
    assert not states[behind].any()
    assert not grads[0][behind].any()


@every_isa
def test_a_reset_separates_the_steps_before_and_after(isa: str) -> None:
    B, T, H, t = 3, 8, 17, 5
    given = inputs(B, T, H)
    reset = torch.zeros(B, T, dtype=torch.bool)
    reset[:, t] = True
    with native.use(isa):
        states, last = gru(*given, reset, None)
        alone, _ = gru(given[0][:, t:], torch.zeros(B, H).double(), *given[2:], None, None)
        grads = torch.autograd.grad(states[:, t:].sum() + last.sum(), given[:2])
    assert torch.equal(states[:, t:], alone)
    assert not grads[0][:, :t].any()
    assert not grads[1].any()


@every_isa
@pytest.mark.parametrize(
    ("B", "T", "H"), [(1, 6, 100), (3, 5, 75), (9, 5, 64), (17, 4, 33), (50, 4, 7), (30, 3, 130)]
)
def test_same_bits_on_any_number_of_threads(
    isa: str, B: int, T: int, H: int, set_threads: Callable[[int], None]
) -> None:
    given = inputs(B, T, H, torch.float32)
    reset, lengths = ragged(B, T)
    upstream = [torch.randn(B, T, H), torch.randn(B, H)]
    expected: dict[int, list[Tensor]] = {}
    for number in (1, 2, 3, 5):
        set_threads(number)
        with native.use(isa):
            for n, rest in enumerate(((None, None), (reset, lengths))):
                found = gru(*given, *rest)
                # The gradients of weights are torch's products, which may depend on threads.
                found += torch.autograd.grad(found, given[:2], upstream)
                for ours, first in zip(found, expected.setdefault(n, list(found))):
                    assert torch.equal(ours, first)


@every_isa
def test_same_bits_alone_and_in_any_batch(isa: str) -> None:
    projected, initial, *weights = inputs(19, 4, 50, torch.float32)
    with native.use(isa):
        whole, _ = gru(projected, initial, *weights, None, None)
        for first, last in ((0, 1), (1, 3), (3, 6), (6, 10), (10, 15), (4, 10), (2, 9), (7, 19)):
            some = slice(first, last)
            part, _ = gru(projected[some], initial[some], *weights, None, None)
            assert torch.equal(part, whole[some])


@every_isa
def test_shut_gates_keep_the_bits(isa: str) -> None:
    projected, initial, *_ = inputs(3, 5, 17, torch.float32)
    with torch.no_grad():
        projected[..., 17:34] = 200  # z = 1
        initial[0] = -0.0
    weights = torch.zeros(51, 17), None
    with native.use(isa):
        states, last = gru(projected, initial, *weights, None, None)
    assert torch.equal(states, initial.unsqueeze(1).expand_as(states))
    assert torch.equal(last, initial)


@every_isa
def test_bfloat16_storage_computes_in_float32(isa: str) -> None:
    given = [x.detach().bfloat16().requires_grad_() for x in inputs(5, 6, 33)]
    reset, lengths = ragged(5, 6)
    upstream = [torch.randn(5, 6, 33).bfloat16(), torch.randn(5, 33).bfloat16()]
    wide = [x.detach().float().requires_grad_() for x in given]
    with native.use(isa):
        found = results(gru, given, upstream, reset, lengths)
        expected = results(gru, wide, upstream, reset, lengths)
        narrow = [given[0], *wide[1:]]  # as under autocast
        mixed = results(gru, narrow, upstream, reset, lengths)
    for ours, theirs in zip(found, expected):
        assert ours.dtype == torch.bfloat16
        assert torch.equal(ours, theirs.bfloat16())
    assert mixed[0].dtype == mixed[1].dtype == torch.float32
    assert mixed[2].dtype == torch.bfloat16
    for ours, theirs in zip(mixed, expected):
        assert torch.equal(ours, theirs.to(ours.dtype))


@every_isa
@pytest.mark.parametrize("learns", list(itertools.product((True, False), repeat=4)), ids=str)
def test_gradients_of_some_inputs(isa: str, learns: tuple[bool, ...]) -> None:
    given = inputs(3, 4, 17)
    reset, lengths = ragged(3, 4)
    with native.use(isa):
        every = torch.autograd.grad(gru(*given, reset, lengths)[0].sin().sum(), given)
        some = [x.detach().requires_grad_(need) for x, need in zip(given, learns)]
        loss = gru(*some, reset, lengths)[0].sin().sum()
        if any(learns):
            loss.backward()
    for x, need, expected in zip(some, learns, every):
        assert (x.grad is not None) == need
        assert not need or torch.equal(x.grad, expected)


@every_isa
def test_backward_can_run_twice(isa: str) -> None:
    given = inputs(3, 4, 17)
    with native.use(isa):
        loss = gru(*given, None, None)[0].sin().sum()
        first = torch.autograd.grad(loss, given, retain_graph=True)
        second = torch.autograd.grad(loss, given)
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("given", ["reset", "lengths", "both", "neither"])
def test_first_and_second_derivatives(given: str) -> None:
    tensors = inputs(2, 3, 2)
    reset, lengths = torch.rand(2, 3) < 0.4, torch.tensor([3, 1])
    reset = reset if given in ("reset", "both") else None
    lengths = lengths if given in ("lengths", "both") else None
    with native.use(native.supported()[0]):

        def run(*tensors: Tensor) -> tuple[Tensor, Tensor]:
            return gru(*tensors, reset, lengths)

        assert torch.autograd.gradcheck(run, tensors)
        assert torch.autograd.gradgradcheck(run, tensors)


@every_isa
@pytest.mark.parametrize(("B", "T", "H"), [(2, 500, 48), (17, 9, 50), (8, 40, 130)])
def test_float32_is_accurate(isa: str, B: int, T: int, H: int) -> None:
    given = inputs(B, T, H, torch.float32)
    upstream = [torch.randn(B, T, H), torch.randn(B, H)]
    with native.use(isa):
        found = results(gru, given, upstream, None, None)
    exact = [x.detach().double().requires_grad_() for x in given]
    assert_close(found, results(reference, exact, upstream, None, None), 1e-6)
