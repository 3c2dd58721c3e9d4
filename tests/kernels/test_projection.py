"""A projection is torch's linear, whichever library multiplies."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import linear

from ramgru.kernels.projection import FEW, Projection, projection
from ramgru.kernels.projection.cpu import HAS_ONEDNN

needs_onednn = pytest.mark.skipif(not HAS_ONEDNN, reason="torch without oneDNN")


def relative(found: torch.Tensor, exact: torch.Tensor) -> float:
    found, exact = found.detach(), exact.detach()
    return float((found - exact).norm() / exact.norm())


@pytest.mark.parametrize("shape", [(FEW, 3), (7, 50, 33), (2, 3, 40, 256), (5, 3)])
@pytest.mark.parametrize("outputs", [1, 4, 65])
@pytest.mark.parametrize("bias", [True, False])
def test_values_and_gradients(shape, outputs, bias):
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
        assert relative(value.grad, wide.grad) < 1e-5  # a few numbers, whose terms may cancel


@needs_onednn
def test_onednn_runs_where_there_are_enough_rows(monkeypatch):
    def multiplies(rows: int) -> set[str]:
        with torch.profiler.profile() as profile:
            projection(torch.randn(rows, 8), torch.randn(4, 8))
        return {event.name for event in profile.events()}

    assert "mkldnn::_linear_pointwise" in multiplies(FEW)
    assert "mkldnn::_linear_pointwise" not in multiplies(FEW - 1)
    monkeypatch.setattr("ramgru.kernels.projection.cpu.HAS_ONEDNN", False)
    assert "mkldnn::_linear_pointwise" not in multiplies(FEW)


def test_strided_input():
    x = torch.randn(30, 40, 6).transpose(0, 1).requires_grad_()
    w = torch.randn(6, 5).t()
    torch.testing.assert_close(projection(x, w), linear(x, w))


def test_second_derivatives():
    x, w = torch.randn(FEW, 3, requires_grad=True), torch.randn(2, 3, requires_grad=True)
    (g,) = torch.autograd.grad(projection(x, w).square().sum(), x, create_graph=True)
    (found,) = torch.autograd.grad(g.sum(), w)
    (g,) = torch.autograd.grad(linear(x, w).square().sum(), x, create_graph=True)
    (expected,) = torch.autograd.grad(g.sum(), w)
    torch.testing.assert_close(found, expected)


def test_the_module_is_a_linear():
    module = Projection(3, 5)
    x = torch.randn(FEW, 3)
    torch.testing.assert_close(module(x), torch.nn.Linear.forward(module, x))
    assert torch.compile(module, fullgraph=True, backend="eager")(x).shape == (FEW, 5)


def test_autocast_is_left_to_torch():
    with torch.autocast("cpu", torch.bfloat16):
        assert projection(torch.randn(FEW, 3), torch.randn(2, 3)).dtype == torch.bfloat16
