"""Derivatives of `memory_scan`: first and second order, by autograd and torch.func."""

from __future__ import annotations

import pytest
import torch
from memory_cases import SMALL, fast, floating, of_leaves, slow, small
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jacrev, jvp, vmap

KINDS = pytest.mark.parametrize("kind", SMALL)


@KINDS
def test_first_and_second_derivatives_equal_finite_differences(kind: str) -> None:
    scan, leaves = of_leaves(*reversed(small(kind)))
    assert gradcheck(scan, leaves, fast_mode=False)
    assert gradgradcheck(scan, leaves, fast_mode=True)


@KINDS
def test_second_derivatives_equal_those_of_the_reference(kind: str) -> None:
    case, x = small(kind)

    def second(scan) -> list[Tensor]:
        leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
        outputs, memory = scan({**x, **leaves}, case)
        loss = outputs.sin().sum() + memory.square().sum()
        first = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in first), leaves.values()))

    for found, wanted in zip(second(fast), second(slow), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-10)


def test_only_what_is_asked_for_gets_a_gradient() -> None:
    case, x = small("cells-and-all-options")
    x["gate"].requires_grad_()
    outputs, _ = fast(x, case)
    outputs.sum().backward()
    assert x["gate"].grad.abs().sum() > 0
    assert x["candidate"].grad is None


def test_gradient_of_a_sum_that_torch_expands() -> None:
    case, x = small("cells-and-all-options")
    leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
    found = torch.autograd.grad(fast({**x, **leaves}, case)[0].sum(), leaves.values())
    wanted = torch.autograd.grad(slow({**x, **leaves}, case)[0].sum(), leaves.values())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-10)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    """An error, not missing tangents."""
    case, x = small("no-initial-memory")
    gate = x.pop("gate")

    def scan(z: Tensor) -> Tensor:
        return fast({**x, "gate": z}, case)[0]

    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        scan(forward_ad.make_dual(gate, gate))
    with pytest.raises(NotImplementedError, match="forward mode"):
        jvp(scan, (gate,), (gate,))


@KINDS
def test_second_derivatives_by_torch_func(kind: str) -> None:
    """grad of grad, alone and mapped over many inputs, equals autograd through the reference."""
    case, x = small(kind)
    names = floating(x)
    numbers = tuple(range(len(names)))

    def twice(scan, *values: Tensor) -> Tensor:
        def loss(*values: Tensor) -> Tensor:
            outputs, memory = scan({**x, **dict(zip(names, values, strict=True))}, case)
            return outputs.sin().sum() + memory.square().sum()

        return sum(g.square().sum() for g in grad(loss, numbers)(*values))

    g = torch.Generator().manual_seed(3)
    many = [torch.rand(3, *x[name].shape, generator=g, dtype=torch.float64) for name in names]
    second = grad(lambda *v: twice(fast, *v), numbers)
    each = [[v[i] for v in many] for i in range(3)]
    wanted = [grad(lambda *v: twice(slow, *v), numbers)(*values) for values in each]
    for found in ([second(*values) for values in each], zip(*vmap(second)(*many), strict=True)):
        for a, b in zip(found, wanted, strict=True):
            for value, want in zip(a, b, strict=True):
                torch.testing.assert_close(value, want, rtol=1e-10, atol=1e-10)


def test_hessian_by_torch_func_equals_autograd() -> None:
    case, x = small("cells-and-all-options")
    gate = x.pop("gate")

    def loss(z: Tensor) -> Tensor:
        return fast({**x, "gate": z}, case)[0].pow(3).sum()

    found = jacrev(jacrev(loss))(gate)
    wanted = torch.autograd.functional.hessian(loss, gate)
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-10)


def test_third_derivatives_are_refused() -> None:
    """They would miss terms."""
    case, x = small("no-initial-memory")
    gate = x["gate"].requires_grad_()
    value = fast(x, case)[0].pow(3).sum()
    for _ in range(2):
        (g,) = torch.autograd.grad(value, gate, create_graph=True)
        value = g.square().sum()
    with pytest.raises(NotImplementedError, match="third order"):
        torch.autograd.grad(value, gate)
