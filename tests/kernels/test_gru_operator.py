"""`torch.ops.ramgru.gru`: one operator of any length, with rules for compile, export and vmap."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend
from torch.func import grad, vmap
from torch.library import opcheck

from ramgru.kernels.recurrence import gru
from ramgru.kernels.recurrence.reference import gru as reference


def tensors(B: int = 2, T: int = 4, H: int = 3, bias: bool = True) -> list[Tensor | None]:
    """projected, initial, weight_hh, bias_hh"""
    sizes: list[Any] = [(B, T, 3 * H), (B, H), (3 * H, H), (3 * H,)]
    made = [torch.randn(size, dtype=torch.float64, requires_grad=True) for size in sizes]
    return [*made[:3], made[3] if bias else None]


def ragged(B: int = 2, T: int = 4) -> tuple[Tensor, Tensor]:
    return torch.rand(B, T) < 0.3, torch.randint(T + 1, (B,))


def results(function: Any, given: list[Tensor | None], *more: Any) -> list[Tensor]:
    states, last = function(*given, *more)
    leaves = [t for t in given if t is not None]
    loss = states.sin().sum() + last.cos().sum()
    return [states, last, *torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("bias", [True, False])
def test_opcheck(bias: bool) -> None:
    opcheck(torch.ops.ramgru.gru.default, (*tensors(bias=bias), *ragged()))


def test_without_a_sequence_or_a_step() -> None:
    for B, T in ((0, 4), (2, 0)):
        given = tensors(B, T)
        states, last = torch.ops.ramgru.gru(*given, None, None)
        assert states.shape == (B, T, 3)
        assert torch.equal(last, given[1])
        loss = states.sum() + 2 * last.sum()
        assert torch.equal(torch.autograd.grad(loss, given[1])[0], torch.full((B, 3), 2.0).double())


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")
def test_two_graphs_for_all_lengths() -> None:
    torch.compiler.reset()
    frames = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(gru, fullgraph=True, backend=frames)
    for B, T in ((2, 4), (3, 9), (2, 30), (4, 17), (5, 2), (2, 3)):
        given, more = tensors(B, T), ragged(B, T)
        wanted = results(reference, given, *more)
        for ours, theirs in zip(results(compiled, given, *more), wanted, strict=True):
            torch.testing.assert_close(ours, theirs)
    assert frames.frame_count <= 2
    assert frames.op_count <= 4 * frames.frame_count  # not unrolled
    torch.compiler.reset()


@pytest.mark.parametrize("mapped", ["inputs", "weights"])
def test_vmap_and_gradients(mapped: str) -> None:
    """Over sequences, as of each sample, and over weights, as of an ensemble."""
    given = [torch.randn(5, *t.shape, dtype=torch.float64) for t in tensors()]
    reset, lengths = ragged()
    dims = (0, 0, None, None) if mapped == "inputs" else (None, None, 0, 0)
    given = [t if dim == 0 else t[0] for t, dim in zip(given, dims, strict=True)]

    def loss(*given: Tensor) -> Tensor:
        states, last = gru(*given, reset, lengths)
        return states.sin().sum() + last.cos().sum()

    found = vmap(grad(loss, (0, 1, 2, 3)), dims)(*given)
    for n in range(5):
        alone = [t[n] if dim == 0 else t for t, dim in zip(given, dims, strict=True)]
        for ours, theirs in zip(found, grad(loss, (0, 1, 2, 3))(*alone), strict=True):
            torch.testing.assert_close(ours[n], theirs)
        leaves = [t.requires_grad_() for t in alone]
        for ours, theirs in zip(found, results(gru, leaves, reset, lengths)[2:], strict=True):
            torch.testing.assert_close(ours[n], theirs)
