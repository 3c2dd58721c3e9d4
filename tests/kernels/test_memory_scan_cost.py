"""The memory saved for backward: independent of the number of cells, linear in the steps."""

from __future__ import annotations

import pytest
import torch
from memory_cases import Case, floating
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.memory_scan import memory_scan

INITIAL = pytest.mark.parametrize("initial", ["none", "cells"])


def saved_bytes(T: int, N: int, initial: str, want_final: bool = True) -> int:
    """Bytes saved between forward and backward, inputs included."""
    x = Case(B=2, T=T, H=2, K=4, J=4, D=16, N=64).tensors(torch.float32)
    if initial == "cells":
        x["initial_cells"] = torch.arange(10).expand(2, 2, 10).clone()
        x["initial_rows"] = torch.ones(2, 2, 10, 16)
    # Cells of a small memory lie far apart in a large one.
    for name in ("write_index", "read_index"):
        x[name] *= N // 64
    for name in floating(x):
        x[name].requires_grad_()
    kept: dict[int, int] = {}

    def keep(value: Tensor) -> Tensor:
        kept[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        return value

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        memory_scan(**x, memory_size=N, want_final=want_final)
    return sum(kept.values())


@INITIAL
def test_saved_memory_is_the_same_for_any_number_of_cells(initial: str) -> None:
    few, many = (saved_bytes(32, N, initial) for N in (2**10, 2**20))
    assert 0 < few == many


@INITIAL
def test_saved_memory_is_linear_in_the_steps(initial: str) -> None:
    one, two, three = (saved_bytes(T, 2**20, initial) for T in (32, 64, 96))
    assert three - two == two - one > 0


def test_saved_memory_without_a_final_one_is_smaller(path: str) -> None:
    without, whole = (saved_bytes(32, 2**20, "none", final) for final in (False, True))
    assert without < whole if path == native.PORTABLE else without == whole


@INITIAL
def test_native_kernels_save_nothing_but_the_inputs(path: str, initial: str) -> None:
    inputs = 4 * 32 * 2 * 2 * (2 * 4 * 3 + 1 + 16)  # bytes: indices, weights, gate, candidate
    given = 4 * 2 * 2 * 10 * (2 + 16) if initial == "cells" else 0
    saved = saved_bytes(32, 2**20, initial)
    assert saved > inputs + given if path == native.PORTABLE else saved == inputs + given


@pytest.mark.parametrize("initial", ["none", "cells"])
def test_no_tensor_has_as_many_rows_as_the_memory_cells(initial: str) -> None:
    """Forward and backward at 2^40 cells, for which no table fits into memory."""
    case = Case(T=5, N=2**20)
    x = case.tensors()
    x["write_index"] *= 2**20
    x["read_index"] = x["write_index"][..., :2].clone()
    if initial == "cells":
        x["initial_cells"] = x["write_index"][:, 0].clone()
        x["initial_rows"] = torch.ones(2, 2, 3, 3, dtype=torch.float64)
    for name in floating(x):
        x[name].requires_grad_()
    outputs, _, rows = memory_scan(**x, memory_size=2**40)
    (outputs.sum() + rows.sum()).backward()
    assert x["candidate"].grad.abs().sum() > 0
