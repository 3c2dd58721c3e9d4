"""Tape heads: the native kernel against the equations in torch."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.tape import tape

every_isa = pytest.mark.parametrize("isa", native.supported())
OPEN = 9.0  # a move whose gate is exactly 1; at -OPEN it is 0

Given = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


def draw(T: int, H: int, resets: bool, ragged: bool, shut: bool, dtype: torch.dtype) -> Given:
    """moves, position, reset, lengths; with `shut`, all gates are exactly 0 or 1. Otherwise no gate
    is clamped, so that a position stands on the border of two cells after a reset alone: elsewhere
    rounding would decide between these."""
    moves = (torch.randn(3, T, 3 * H, dtype=dtype) / 2).clamp(-1.5, 1.5)  # gates reach 0 at -1.61
    position = torch.randn(3, 2 * H, dtype=torch.float64) * 5
    if shut:
        moves, position = moves.sign() * OPEN, position.round()
    reset = torch.rand(3, T) < 0.3 if resets else None
    lengths = torch.tensor([T, 0, (T + 1) // 2]) if ragged else None
    return moves, position, reset, lengths


def evaluate(given: Given, cells: int = 7, window: int = 1) -> list[Tensor]:
    """The results, and the gradients of moves and positions."""
    moves, position = (t.detach().requires_grad_() for t in given[:2])
    found = tape(moves, position, *given[2:], cells=cells, window=window)
    g = torch.Generator().manual_seed(1)
    numbers = [found[n] for n in (1, 3, 4)]
    above = [torch.randn(t.shape, generator=g, dtype=torch.float64).to(t.dtype) for t in numbers]
    return [*found, *torch.autograd.grad(numbers, (moves, position), above)]


@every_isa
@pytest.mark.parametrize("window", [1, 3])
@pytest.mark.parametrize("shut", [False, True], ids=["", "shut"])
@pytest.mark.parametrize("ragged", [False, True], ids=["", "ragged"])
@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
@pytest.mark.parametrize(("T", "H"), [(1, 1), (2, 5), (40, 2)])
def test_the_kernel_equals_the_equations(
    isa: str, T: int, H: int, resets: bool, ragged: bool, shut: bool, window: int
) -> None:
    for dtype, bound in ((torch.float64, 1e-11), (torch.float32, 2e-6)):
        given = draw(T, H, resets, ragged, shut, dtype)
        with native.use(isa):
            found = evaluate(given, window=window)
        with native.use(native.PORTABLE):
            wanted = evaluate(given, window=window)
        for a, b in zip(found, wanted, strict=True):
            assert a.dtype == b.dtype
            if a.is_floating_point():
                torch.testing.assert_close(a, b, rtol=bound, atol=bound)
            else:
                assert torch.equal(a, b)


@every_isa
@pytest.mark.parametrize("which", [1, 3, 4], ids=["written", "read", "last"])
def test_gradient_from_one_result_alone(isa: str, which: int) -> None:
    moves, position, reset, lengths = draw(9, 3, True, True, False, torch.float64)
    moves.requires_grad_()
    grads = []
    for path in (isa, native.PORTABLE):
        with native.use(path):
            loss = tape(moves, position, reset, lengths, cells=7)[which].sin().sum()
            grads.append(torch.autograd.grad(loss, moves)[0])
    torch.testing.assert_close(*grads, rtol=1e-11, atol=1e-11)


@every_isa
def test_positions_that_are_not_finite_end_at_a_reset(isa: str) -> None:
    moves, position, *_ = draw(6, 2, False, False, False, torch.float64)
    reset = torch.zeros(3, 6, dtype=torch.bool)
    moves[1, 1], reset[1, 3] = torch.nan, True
    with native.use(isa):
        found = evaluate((moves, position, reset, None))
        alone = evaluate((moves[:, 3:], torch.zeros_like(position), None, None))
    assert found[1][1, 1:3].isnan().any()
    assert all(t[[0, 2]].isfinite().all() for t in found)
    for a, b in zip(found[:4], alone[:4]):
        assert torch.equal(a[1, 3:], b[1])


def test_first_and_second_derivatives() -> None:
    moves, position, reset, lengths = draw(4, 2, True, True, False, torch.float64)

    def run(moves: Tensor, position: Tensor) -> tuple[Tensor, ...]:
        found = tape(moves, position, reset, lengths, cells=7)
        return found[1], found[3], found[4]

    leaves = (moves.requires_grad_(), position.requires_grad_())
    assert torch.autograd.gradcheck(run, leaves)
    assert torch.autograd.gradgradcheck(run, leaves)


@every_isa
def test_threads_change_no_bit(isa: str) -> None:
    given, before, found = (
        draw(50, 3, True, True, False, torch.float32),
        torch.get_num_threads(),
        [],
    )
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                found.append(evaluate(given))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_every_path_takes_an_empty_batch() -> None:
    for path in (*native.supported(), native.PORTABLE):
        with native.use(path):
            found = tape(torch.zeros(0, 3, 6), torch.zeros(0, 4).double(), None, None, cells=7)
        assert found[0].shape == (0, 3, 2, 2)
        assert found[4].shape == (0, 4)
