"""The convolution over a window: native code against its definition, on every instruction set."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from ramgru.kernels import native
from ramgru.kernels.short_convolution import reference, short_convolution

needs_native = pytest.mark.skipif(not native.supported(), reason="the library is not built")
B, NAMES = 3, ("x", "before", "nothing", "taps")


def draw(T: int, C: int, W: int, resets: bool, dtype: torch.dtype) -> list[Any]:
    shapes = ((B, T, C), (B, W, C), (C,), (W + 1, C))
    x = [torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes]
    return [*x, torch.rand(B, T) < 0.3 if resets else None]


def results(function: Any, x: list[Any], above: torch.Tensor) -> list[torch.Tensor]:
    (y,) = function(x)
    grads = torch.autograd.grad(y, x[:4], above, allow_unused=True, materialize_grads=True)
    return [y.detach(), *grads]


@needs_native
@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("T", "W"), [(1, 0), (1, 3), (2, 3), (64, 1), (65, 3), (130, 5)])
@pytest.mark.parametrize("C", [1, 7, 16, 31, 32, 33, 80])
def test_native_equals_the_definition(isa, resets, T, W, C):
    x = draw(T, C, W, resets, torch.float64)
    above = torch.randn(B, T, C, dtype=torch.float64)
    with native.use(isa):
        found = results(short_convolution, x, above)
    for a, b in zip(found, results(lambda given: reference(*given), x, above), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@needs_native
@pytest.mark.parametrize("isa", native.supported())
def test_single_precision(isa):
    x = draw(700, 48, 3, True, torch.float32)
    above = torch.randn(B, 700, 48)
    wide = [v if v is None or v.dtype == torch.bool else v.detach().double() for v in x]
    wide[:4] = [v.requires_grad_() for v in wide[:4]]
    with native.use(isa):
        found = results(short_convolution, x, above)
    exact = results(lambda given: reference(*given), wide, above.double())
    for a, b in zip(found, exact, strict=True):
        assert float((a - b).norm() / b.norm()) < 1e-6


@needs_native
def test_threads_change_no_bit():
    x, above = draw(130, 80, 3, True, torch.float32), torch.randn(B, 130, 80)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(results(short_convolution, x, above))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))


def test_derivatives():
    x = draw(4, 2, 2, True, torch.float64)
    assert torch.autograd.gradcheck(lambda *v: short_convolution((*v, x[4])), x[:4])
    assert torch.autograd.gradgradcheck(lambda *v: short_convolution((*v, x[4])), x[:4])


def test_nan_of_another_sequence_stays_there():
    x = draw(5, 3, 2, True, torch.float64)
    with torch.no_grad():
        x[0][1] = float("nan")
    (y,) = short_convolution(x)
    assert y[1].isnan().any()
    assert not y[[0, 2]].isnan().any()
