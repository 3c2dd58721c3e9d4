"""The operators in terms of torch's own equal the kernels and the readable references."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from memory_cases import Case, Tensors, all_rows, assert_near, cases, slow
from torch import Tensor

from ramgru.kernels import decompositions
from ramgru.kernels.memory_scan.inputs import Inputs
from ramgru.kernels.memory_scan.uneven import strip_heads
from ramgru.kernels.recurrence import reference


def found(x: Tensors, case: Case, counts: tuple[int, ...] = ()) -> Tensors:
    tensors = [x.get(name) for name in Inputs._fields]
    outputs, cells, rows = decompositions.memory_scan(*tensors, case.N, counts, True)
    return {"outputs": outputs, "memory": all_rows(cells, rows, x, case.N)}


def wanted(x: Tensors, case: Case) -> Tensors:
    return dict(zip(("outputs", "memory"), slow(x, case)))


@settings(max_examples=40)
@given(cases())
def test_memory_scan(case: Case) -> None:
    x = case.tensors()
    assert_near(found(x, case), wanted(x, case), absolute=1e-10)


@settings(max_examples=20)
@given(cases(T=1, initial="dense", reset=False, lengths=False))
def test_one_step_of_all_rows(case: Case) -> None:
    """A cell that a step names twice among them: few cells, several writes."""
    x = case.tensors()
    assert_near(found(x, case), wanted(x, case), absolute=1e-10)


def test_heads_with_uneven_numbers_of_cells() -> None:
    case = Case(H=2, K=3, J=2, N=9)
    x, writes, reads = case.tensors(), (3, 1), (1, 2)
    filled, beside = dict(x), dict(x)
    for kind, counts in (("write", writes), ("read", reads)):
        for name in (f"{kind}_index", f"{kind}_weight"):
            beside[name] = strip_heads(x[name], counts)
        for h, n in enumerate(counts):
            filled[f"{kind}_index"][:, :, h, n:] = -1
    assert_near(found(beside, case, (*writes, *reads)), wanted(filled, case), absolute=1e-10)


@pytest.mark.parametrize("name", ["gru", "diagonal_gru"])
@pytest.mark.parametrize("ragged", [False, True], ids=["plain", "ragged"])
def test_recurrences(name: str, ragged: bool) -> None:
    B, T, H = 3, 5, 4
    shape = (3 * H, H) if name == "gru" else (3 * H,)
    sizes: list[Any] = [(B, T, 3 * H), (B, H), shape, (3 * H,)]
    tensors: list[Tensor | None] = [torch.randn(size, dtype=torch.float64) for size in sizes]
    more: list[Tensor | None] = [None, None]
    if ragged:
        tensors[3] = None
        more = [torch.rand(B, T) < 0.3, torch.tensor([5, 0, 2])]
    ours = getattr(decompositions, name)(*tensors, *more)
    torch.testing.assert_close(ours, getattr(reference, name)(*tensors, *more))


@pytest.mark.parametrize("reverse", [False, True])
def test_linear_scan(reverse: bool) -> None:
    decay, update = torch.rand(2, 6, 3), torch.randn(2, 6, 3)
    initial = torch.randn(2, 3)
    ours = decompositions.linear_scan(decay, update, initial, reverse)
    given = [x.flip(1) if reverse else x for x in (decay, update)]
    expected = reference.linear_scan(given[0], given[1], initial)
    torch.testing.assert_close(ours, expected.flip(1) if reverse else expected)
