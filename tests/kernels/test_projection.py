"""The projection is torch's linear; the gated sum is h + sigmoid(gate) added, in every layout."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch.nn.functional import linear

from ramgru.kernels import native
from ramgru.kernels.projection import FEW, Projection, gated_sum, projection, reference
from ramgru.kernels.projection.cpu import HAS_ONEDNN

needs_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="torch without oneDNN")
every_isa = pytest.mark.parametrize("isa", native.supported())


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20241124)


def relative(found: Tensor, exact: Tensor) -> float:
    found, exact = found.detach(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("shape", [(FEW, 3), (7, 50, 33), (2, 3, 40, 256), (5, 3)])
@pytest.mark.parametrize("outputs", [1, 4, 65])
@pytest.mark.parametrize("bias", [True, False])
def test_projection_equals_linear_with_gradients(shape, outputs, bias):
    x, w = torch.randn(shape), torch.randn(outputs, shape[-1])
    given = [x, w, *([torch.randn(outputs)] if bias else [])]
    exact = [v.double().requires_grad_() for v in given]
    given = [v.requires_grad_() for v in given]
    y, expected = projection(*given), linear(*exact)
    g = torch.randn_like(y)
    y.backward(g)
    expected.backward(g.double())
    assert relative(y, expected) < 1e-6
    for value, wide in zip(given, exact, strict=True):
        assert relative(value.grad, wide.grad) < 1e-5  # sums of a few terms, which may cancel


@needs_onednn
def test_onednn_runs_if_there_are_enough_rows(monkeypatch):
    def multiplies(rows: int) -> set[str]:
        with torch.profiler.profile() as profile:
            projection(torch.randn(rows, 8), torch.randn(4, 8))
        return {event.name for event in profile.events()}

    assert "mkldnn::_linear_pointwise" in multiplies(FEW)
    assert "mkldnn::_linear_pointwise" not in multiplies(FEW - 1)
    monkeypatch.setattr("ramgru.kernels.projection.cpu.HAS_ONEDNN", False)
    assert "mkldnn::_linear_pointwise" not in multiplies(FEW)


def test_projection_of_strided_input_and_second_derivatives():
    x = torch.randn(30, 40, 6).transpose(0, 1).requires_grad_()
    w = torch.randn(6, 5).t().requires_grad_()
    torch.testing.assert_close(projection(x, w), linear(x, w))
    x, found = torch.randn(FEW, 6, requires_grad=True), []
    for run in (projection, linear):
        (g,) = torch.autograd.grad(run(x, w).square().sum(), x, create_graph=True)
        found += torch.autograd.grad(g.sum(), w)
    torch.testing.assert_close(*found)


def test_the_module_is_a_linear_and_autocast_is_left_to_torch():
    module = Projection(3, 5)
    x = torch.randn(FEW, 3)
    torch.testing.assert_close(module(x), torch.nn.Linear.forward(module, x))
    assert torch.compile(module, fullgraph=True, backend="eager")(x).shape == (FEW, 5)
    with torch.autocast("cpu", torch.bfloat16):
        assert projection(x, module.weight).dtype == torch.bfloat16


# The gated sum

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


def evaluate(run, tensors: list[Tensor], above: Tensor) -> list[Tensor]:
    """The sum and the gradients of its three inputs."""
    leaves = [t.clone().requires_grad_() for t in tensors]
    out = run(*leaves)
    return [out.detach(), *torch.autograd.grad(out, leaves, above.to(out.dtype))]


def by_equation(*tensors: Tensor) -> Tensor:
    return reference.gated_sum(*tensors)[0]


@every_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_gated_sum_equals_the_equation(dtype: torch.dtype, isa: str) -> None:
    tolerance = 1e-6 if dtype == torch.float32 else 1e-14
    for shape in SHAPES:
        tensors, above = [3 * torch.randn(shape, dtype=dtype) for _ in range(3)], torch.randn(shape)
        with native.use(isa):
            found = evaluate(gated_sum, tensors, above)
        exact = evaluate(by_equation, [t.double() for t in tensors], above.to(dtype).double())
        for ours, theirs in zip(found, exact, strict=True):
            assert ours.dtype == dtype
            assert (ours.double() - theirs).norm() <= tolerance * theirs.norm()


@every_isa
@pytest.mark.parametrize("h_dtype", [torch.bfloat16, torch.float32, torch.float64], ids=str)
def test_gate_and_added_may_be_stored_in_bfloat16(h_dtype: torch.dtype, isa: str) -> None:
    h = torch.randn(2, 5, 37).to(h_dtype)
    g, r = (torch.randn(2, 5, 37).bfloat16() for _ in range(2))
    above = torch.randn(2, 5, 37).bfloat16()
    with native.use(isa):
        found = evaluate(gated_sum, [h, g, r], above)
    wide = torch.float64 if h_dtype == torch.float64 else torch.float32
    exact = evaluate(by_equation, [t.to(wide) for t in (h, g, r)], above)
    assert [t.dtype for t in found] == [h_dtype, h_dtype, torch.bfloat16, torch.bfloat16]
    for ours, theirs in zip(found, exact, strict=True):
        rounding = 2**-8 if ours.dtype == torch.bfloat16 else 1e-6
        torch.testing.assert_close(ours.to(wide), theirs, rtol=rounding, atol=1e-6)


@every_isa
def test_adding_zeros_changes_no_bit(isa: str) -> None:
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
        expected = evaluate(by_equation, [h, g, r], above)
        for ours, theirs in zip((out, *grads), expected, strict=True):
            torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    with native.use(isa):
        assert gated_sum(time_first, g, r).stride() == time_first.stride()


@every_isa
def test_threads_and_unwanted_gradients_change_no_bit(isa: str) -> None:
    tensors, above = [torch.randn(5, 40, 300) for _ in range(3)], torch.randn(5, 40, 300)
    before, found = torch.get_num_threads(), []
    with native.use(isa):
        try:
            for threads in (1, 2, 3, 5):
                torch.set_num_threads(threads)
                found.append(evaluate(gated_sum, tensors, above))
        finally:
            torch.set_num_threads(before)
        for other in found[1:]:
            assert all(map(torch.equal, found[0], other))
        for i in range(3):
            leaves = [t.clone().requires_grad_(i == j) for j, t in enumerate(tensors)]
            (one,) = torch.autograd.grad(gated_sum(*leaves), leaves[i], above)
            assert torch.equal(one, found[0][1 + i])


def test_second_derivatives_of_the_gated_sum() -> None:
    leaves = [torch.randn(1, 2, 3, dtype=torch.float64, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradgradcheck(gated_sum, leaves)
