"""The native kernel of `memory_scan`: blocks, slices, segments, hashing, threads."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import (
    Case,
    Tensors,
    assert_near,
    at_step,
    cases,
    everything,
    fast,
    floating,
    slow,
)
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.memory_scan import cpu, memory_scan, step_

pytestmark = pytest.mark.skipif(not native.supported(), reason="the native kernels are not built")
ALL = {"fresh": True, "reset": True, "lengths": True, "holes": True}


@pytest.fixture(params=native.supported())
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    with native.use(request.param):
        yield request.param


@pytest.fixture
def short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "VERSIONS", 0)


def assert_same(found: Tensors, wanted: Tensors) -> None:
    for name, value in wanted.items():
        assert torch.equal(found[name], value), name


@pytest.mark.parametrize("D", [1, 3, 4, 7, 8, 9, 16, 17, 31, 33, 64, 70, 133])
def test_every_width_equals_the_reference(isa: str, D: int) -> None:
    for tag in (0, D):
        case = Case(B=2, T=5, H=1, K=2, D=D, initial="cells", seed=D, **ALL, tag=tag)
        x = case.tensors()
        assert_near(everything(fast, x, case), everything(slow, x, case), absolute=1e-10)


@pytest.mark.parametrize("heads", [1, 5, 9])
def test_float32_is_near_float64_in_slices_of_the_width(isa: str, heads: int) -> None:
    """Few sequences and heads: the width is cut into slices."""
    case = Case(B=1, T=12, H=heads, D=70, initial="dense", fresh=True)
    x = case.tensors(torch.float32)
    exact = {name: value.double() if name in floating(x) else value for name, value in x.items()}
    assert_near(everything(fast, x, case), everything(slow, exact, case), relative=1e-6)


@pytest.mark.usefixtures("short_segments")
@settings(max_examples=60)
@given(cases(T=st.integers(20, 40), N=st.sampled_from([1, 3, 6]), strided=st.just(False)))
def test_segments_equal_the_reference(case: Case) -> None:
    with native.use(native.supported()[0]):
        x = case.tensors()
        assert_near(everything(fast, x, case), everything(slow, x, case), absolute=1e-9)


@pytest.mark.parametrize("tag", [0, 5])
@pytest.mark.parametrize("initial", ["none", "cells", "dense"])
def test_segments_change_no_bit(
    isa: str, initial: str, tag: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = Case(T=90, N=9, D=20, initial=initial, **ALL, tag=tag)
    x = case.tensors(torch.float32)
    x["reset"] &= torch.arange(90) % 8 == 0
    whole = everything(fast, x, case)
    monkeypatch.setattr(cpu, "VERSIONS", 0)
    assert_same(everything(fast, x, case), whole)


@pytest.mark.parametrize(
    "shape",
    [{"B": 1, "H": 1}, {"B": 7, "H": 3}, {"B": 7, "H": 3, "tag": 16}],
    ids=["slices", "many", "tags"],
)
def test_threads_change_no_bit(isa: str, shape: dict[str, int]) -> None:
    case = Case(**shape, T=30, K=4, D=70, N=50, initial="cells", **ALL)
    x = case.tensors(torch.float32)
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            found.append(everything(fast, x, case))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert_same(other, found[0])


def test_far_apart_cells_change_no_bit(isa: str) -> None:
    """A direct table and a growing hash table give every cell the same row."""
    case = Case(B=2, T=400, H=1, K=4, D=5, N=3000, initial="cells", reset=True)
    x = case.tensors(torch.float32)
    x["reset"] &= torch.arange(400) == 300
    near = [v.float() for v in memory_scan(**x, memory_size=case.N)]
    for name in ("write_index", "read_index", "initial_cells"):
        x[name] = torch.where(x[name] < 0, x[name], x[name] * 2**30)
    _, cells, rows = memory_scan(**x, memory_size=3000 * 2**30)
    outputs = memory_scan(**x, memory_size=3000 * 2**30, want_final=False)[0]
    assert torch.equal(outputs, near[0])
    for b in range(2):
        held = cells[b, 0] >= 0
        where = cells[b, 0, held] // 2**30
        assert torch.equal(where, where.sort().values)
        assert torch.equal(near[2][b, 0, where], rows[b, 0, held])


def test_bfloat16_is_the_computation_in_float32_rounded_once(isa: str) -> None:
    case = Case(T=20, D=37, N=9, initial="cells", **ALL)
    x = case.tensors(torch.bfloat16)
    found = everything(fast, x, case)
    wide = {name: value.float() if name in floating(x) else value for name, value in x.items()}

    def upstream_rounded(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        outputs, memory = fast(x, case)
        return outputs.bfloat16(), memory

    wanted = everything(upstream_rounded, wide, case)
    for name, value in wanted.items():
        assert torch.equal(found[name], value.to(found[name].dtype)), name


@pytest.mark.parametrize(
    ("candidate", "weight"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.bfloat16)],
    ids=["narrow-candidate", "narrow-weights"],
)
def test_mixed_dtypes_are_computed_wide(
    isa: str, candidate: torch.dtype, weight: torch.dtype
) -> None:
    x = Case(N=9, D=18).tensors(torch.float32)
    x["candidate"] = x["candidate"].to(candidate)
    for name in ("write_weight", "gate", "read_weight"):
        x[name] = x[name].to(weight)
    outputs, _, rows = memory_scan(**x, memory_size=9)
    wide = {name: value.float() if name in floating(x) else value for name, value in x.items()}
    wanted = memory_scan(**wide, memory_size=9)
    assert torch.equal(outputs, wanted[0].to(candidate))
    assert torch.equal(rows, wanted[2])


def test_frozen_rows_keep_the_sign_of_zero(isa: str) -> None:
    x = Case(initial="dense", D=21).tensors()
    x["initial_rows"][..., ::2] = -0.0
    x["write_weight"][:, ::2] = 0
    x["gate"][:, 1::2] = 0
    x["candidate"].fill_(float("nan"))  # never looked at
    _, _, rows = memory_scan(**x, memory_size=7)
    assert torch.equal(rows.view(torch.int64), x["initial_rows"].view(torch.int64))


def test_backward_may_run_on_another_path_than_forward() -> None:
    case = Case(T=20, initial="cells", **ALL)
    x = case.tensors()
    wanted = everything(slow, x, case)
    paths = (native.supported()[0], native.PORTABLE)
    for first, second in (paths, paths[::-1]):
        leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
        with native.use(first):
            outputs, memory = fast({**x, **leaves}, case)
        g = torch.Generator().manual_seed(case.seed + 1)
        upstream = [
            torch.randn(v.shape, generator=g, dtype=torch.float64) for v in (outputs, memory)
        ]
        with native.use(second):
            grads = torch.autograd.grad([outputs, memory], list(leaves.values()), upstream)
        found = {f"grad of {name}": grad for name, grad in zip(leaves, grads, strict=True)}
        assert_near(found, {name: wanted[name] for name in found}, absolute=1e-10)


@pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE])
@pytest.mark.parametrize(("D", "tag"), [(1, 0), (16, 0), (37, 0), (1, 1), (16, 16), (37, 5)])
def test_a_step_in_place_equals_a_scan_of_one_step(path: str, D: int, tag: int) -> None:
    case = Case(B=70, T=4, H=1, K=3, D=D, N=6, initial="dense", holes=True, tag=tag, seed=15)
    x = case.tensors()
    x["initial_rows"][..., ::3] = -0.0
    outputs, _, wanted = memory_scan(**x, memory_size=6)
    rows = x.pop("initial_rows").clone()
    with native.use(path):
        for t in range(case.T):
            y = step_(rows, **at_step(x, t))
            torch.testing.assert_close(y, outputs[:, t], rtol=0, atol=1e-12)
    torch.testing.assert_close(rows, wanted, rtol=0, atol=1e-12)
    frozen = torch.ones_like(rows, dtype=torch.bool)
    for b in range(case.B):
        change = (x["gate"][b, :, 0, None] * x["write_weight"][b, :, 0]) != 0
        frozen[b, 0, x["write_index"][b, :, 0][change].clamp_min(0)] = False
    assert 0 < frozen.sum() < frozen.numel()
    assert torch.equal(rows[frozen].signbit(), wanted[frozen].signbit())
