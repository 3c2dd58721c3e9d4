"""h + sigmoid(g) r by the native kernel: the torch code's numbers, in every dtype and layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.projection import gated_sum, reference

every_isa = pytest.mark.parametrize("isa", native.supported())
SHAPES = [
    (1, 1, 1),
    (2, 3, 15),
    (2, 3, 16),
    (1, 2, 17),
    (3, 2, 64),
    (2, 40, 1000),
    (0, 3, 4),
    (2, 3, 0),
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20241124)


def evaluate(run, tensors: list[Tensor], above: Tensor) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in tensors]
    out = run(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, above.to(out.dtype))]


def by_parts(*tensors: Tensor) -> Tensor:
    return reference.gated_sum(*tensors)[0]


@every_isa
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_what_torch_gives(shape: tuple[int, ...], dtype: torch.dtype, isa: str) -> None:
    tensors, above = [3 * torch.randn(shape, dtype=dtype) for _ in range(3)], torch.randn(shape)
    with native.use(isa):
        found = evaluate(gated_sum, tensors, above)
    exact = evaluate(by_parts, [t.double() for t in tensors], above.to(dtype).double())
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    for ours, theirs in zip(found, exact, strict=True):
        assert ours.dtype == dtype
        assert (ours.double() - theirs).norm() <= tolerance * theirs.norm()


@every_isa
@pytest.mark.parametrize("h_dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_what_is_added_may_be_stored_in_bfloat16(h_dtype: torch.dtype, isa: str) -> None:
    h = torch.randn(2, 5, 37).to(h_dtype)
    g, r = (torch.randn(2, 5, 37).bfloat16() for _ in range(2))
    above = torch.randn(2, 5, 37).bfloat16()
    with native.use(isa):
        found = evaluate(gated_sum, [h, g, r], above)
    wide = torch.float64 if h_dtype == torch.float64 else torch.float32
    exact = evaluate(by_parts, [t.to(wide) for t in (h, g, r)], above)
    assert [t.dtype for t in found] == [h_dtype, h_dtype, torch.bfloat16, torch.bfloat16]
    for ours, theirs in zip(found, exact, strict=True):
        torch.testing.assert_close(
            ours.to(wide), theirs, rtol=2**-8 if ours.dtype == torch.bfloat16 else 1e-6, atol=1e-6
        )


@every_isa
def test_nothing_added_changes_no_bit(isa: str) -> None:
    h, g = torch.randn(3, 7, 33), torch.randn(3, 7, 33)
    with native.use(isa):
        for zero in (0.0, -0.0):
            assert torch.equal(gated_sum(h, g, torch.full_like(h, zero)), h)


@every_isa
def test_any_layout_in_memory_and_the_sum_laid_out_as_the_first(isa: str) -> None:
    time_first = torch.randn(7, 3, 33).transpose(0, 1)
    half = torch.randn(3, 7, 66)[..., 33:]
    g, r = torch.randn(3, 33, 7).transpose(1, 2), torch.randn(7, 3, 33).transpose(0, 1)
    above = torch.randn(7, 3, 33).transpose(0, 1)
    for h in (time_first, half, g):
        with native.use(isa):
            leaves = [t.detach().requires_grad_() for t in (h, g, r)]
            out = gated_sum(*leaves)
            grads = torch.autograd.grad(out, leaves, above)
        expected = evaluate(by_parts, [h, g, r], above)
        for ours, theirs in zip((out, *grads), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with native.use(isa):
        assert gated_sum(time_first, g, r).stride() == time_first.stride()


@every_isa
def test_threads_change_no_bit(isa: str) -> None:
    tensors, above = [torch.randn(5, 40, 300) for _ in range(3)], torch.randn(5, 40, 300)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                found.append(evaluate(gated_sum, tensors, above))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@every_isa
def test_gradients_that_are_not_wanted(isa: str) -> None:
    tensors, above = [torch.randn(2, 3, 20) for _ in range(3)], torch.randn(2, 3, 20)
    with native.use(isa):
        _, *full = evaluate(gated_sum, tensors, above)
        for i in range(3):
            leaves = [t.clone().requires_grad_(i == j) for j, t in enumerate(tensors)]
            (one,) = torch.autograd.grad(gated_sum(*leaves), leaves[i], above)
            assert torch.equal(one, full[i])


def test_second_derivatives() -> None:
    leaves = [torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradgradcheck(gated_sum, leaves)
