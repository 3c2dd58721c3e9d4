"""Inputs of `linear_scan`, its gradients, and how far two results may be apart."""

from __future__ import annotations

import torch
from torch import Tensor


def inputs(
    B: int, T: int, H: int, seed: int = 0, dtype: torch.dtype = torch.float64, strided: bool = False
) -> list[Tensor]:
    """decay (with exact zeros and ones), update, initial"""
    g = torch.Generator().manual_seed(seed)
    decay = (torch.rand(B, T, H, generator=g, dtype=torch.float64) * 1.4 - 0.2).clamp(0, 1)
    update = torch.randn(B, T, H, generator=g, dtype=torch.float64)
    initial = torch.randn(B, H, generator=g, dtype=torch.float64)
    values = [v.to(dtype) for v in (decay, update, initial)]
    if strided:
        values = [v.transpose(0, -1).contiguous().transpose(0, -1) for v in values]
    return values


def with_gradients(scan, values: list[Tensor], seed: int = 1) -> list[Tensor]:
    """States, and the gradients of decay, update and initial."""
    leaves = [v.detach().requires_grad_() for v in values]
    states = scan(*leaves)
    g = torch.Generator().manual_seed(seed)
    upstream = torch.randn(states.shape, generator=g, dtype=torch.float64).to(states.dtype)
    found = torch.autograd.grad(states, leaves, upstream, allow_unused=True, materialize_grads=True)
    return [states.detach(), *found]


def assert_near(found: list[Tensor], wanted: list[Tensor], absolute=0.0, relative=0.0) -> None:
    names = ("states", "grad of decay", "grad of update", "grad of initial")
    assert len(found) == len(wanted)
    for name, a, b in zip(names, found, wanted):
        assert a.shape == b.shape, name
        if a.numel():
            far = (a.double() - b.double()).abs().max()
            bar = absolute + relative * b.double().abs().max()
            assert far <= bar, f"{name}: off by {far:.3g}, at most {bar:.3g} is allowed"
