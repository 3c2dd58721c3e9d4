"""Inputs of the elementwise recurrences, gradients, and the tolerance between two results."""

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
    """The largest error of each tensor is within a tolerance for its largest number."""
    for n, (a, b) in enumerate(zip(found, wanted, strict=True)):
        assert a.shape == b.shape, n
        if a.numel():
            far = (a.double() - b.double()).abs().max()
            bar = absolute + relative * b.double().abs().max()
            assert far <= bar, f"tensor {n}: off by {far:.3g}, at most {bar:.3g} is allowed"


def mingru_inputs(
    B: int, T: int, H: int, resets: bool, lengths: bool, dtype: torch.dtype = torch.float64
) -> list[Tensor | None]:
    """projected, initial, reset, lengths: an empty sequence, a whole one, and one between"""
    g = torch.Generator().manual_seed(7)
    x = 2 * torch.randn(B, T, 2 * H, generator=g)
    values = [v.to(dtype) for v in (x, torch.randn(B, H, generator=g))]
    reset = torch.rand(B, T, generator=g) < 0.15 if resets else None
    ends = torch.tensor([(0, T, 2 * T // 3)[b % 3] for b in range(B)]) if lengths else None
    return [*values, reset, ends]


def diagonal_inputs(
    B: int,
    T: int,
    H: int,
    bias: bool = True,
    resets: bool = True,
    lengths: bool = True,
    dtype: torch.dtype = torch.float64,
) -> list[Tensor | None]:
    """projected, initial, weight_hh, bias_hh, reset, lengths; weights of both signs, up to ±2"""
    _, h, reset, ends = mingru_inputs(B, T, H, resets, lengths, dtype)
    g = torch.Generator().manual_seed(8)
    x, u, c = (torch.randn(s, generator=g) for s in ((B, T, 3 * H), 3 * H, 3 * H))
    x, u, c = ((2 * x).to(dtype), u.clamp(-2, 2).to(dtype), c.to(dtype))
    return [x, h, u, c if bias else None, reset, ends]


def diagonal_results(run, values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    """States, the last state, and all gradients; `use`: the results that the loss depends on."""
    leaves = [v.detach().requires_grad_() for v in values[:4] if v is not None]
    results = run(*(leaves if len(leaves) == 4 else [*leaves, None]), *values[4:])
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(r.shape, generator=g).to(r) for r in results]
    chosen = {"both": slice(2), "states": slice(1), "last": slice(1, 2)}[use]
    grads = torch.autograd.grad(results[chosen], leaves, above[chosen])
    return [v.detach().cpu() for v in (*results, *grads)]


def in_double(values: list[Tensor | None]) -> list[Tensor | None]:
    return [v.double().cpu() if v is not None and v.is_floating_point() else v for v in values]
