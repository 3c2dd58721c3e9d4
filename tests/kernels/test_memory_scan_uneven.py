"""`memory_scan` of heads with uneven numbers of cells equals heads that are filled up to one."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import (
    Case,
    Tensors,
    all_rows,
    arguments,
    assert_near,
    cases,
    everything,
    fast,
    floating,
    slow,
    small,
)
from torch import Tensor
from torch.autograd import gradcheck, gradgradcheck
from torch.func import grad, vmap
from torch.library import opcheck

from ramgru.kernels import native
from ramgru.kernels.memory_scan import memory_scan, pad_heads
from ramgru.kernels.memory_scan.uneven import strip_heads

counts = st.lists(st.integers(1, 6), min_size=3, max_size=3)


class Uneven:
    """The accesses of a case, each head with the first `writes` and `reads` of its own."""

    def __init__(self, x: Tensors, writes: list[int], reads: list[int]) -> None:
        self.counts = {"write": writes, "read": reads}
        self.x = {
            name: strip_heads(value, self.counts[kind]) if kind else value
            for name, value in x.items()
            for kind in [self.kind(name)]
        }
        self.options = {"write_counts": writes, "read_counts": reads}

    @staticmethod
    def kind(name: str) -> str:
        """Of a tensor of accesses: "write" or "read"."""
        kind, _, rest = name.partition("_")
        return kind if rest in ("index", "weight") else ""

    def scan(self, x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        """As `fast`."""
        outputs, cells, rows = memory_scan(**x, memory_size=case.N, **self.options)
        return outputs, all_rows(cells, rows, x, case.N)

    def filled_up(self) -> Tensors:
        filled = dict(self.x)
        for name, value in self.x.items():
            if kind := self.kind(name):
                filled[name] = pad_heads(value, self.counts[kind], -1 if "index" in name else 0)
        return filled

    def stripped(self, found: Tensors) -> Tensors:
        """Results for `filled_up`, with gradients of the accesses alone"""
        results = dict(found)
        for kind, each in self.counts.items():
            name = f"grad of {kind}_weight"
            results[name] = strip_heads(found[name], each)
        return results


def uneven(case: Case, writes: list[int], reads: list[int], dtype: torch.dtype) -> Uneven:
    return Uneven(case.tensors(dtype), writes[: case.H], reads[: case.H])


@settings(max_examples=100)
@given(
    cases(K=st.just(6), J=st.just(6), H=st.integers(1, 3), strided=st.just(False)), counts, counts
)
def test_equals_the_reference(case: Case, writes: list[int], reads: list[int]) -> None:
    u = uneven(case, writes, reads, torch.float64)
    found = everything(u.scan, u.x, case)
    wanted = u.stripped(everything(slow, u.filled_up(), case))
    # A tag near zero has a gradient of many thousands.
    assert_near(found, wanted, absolute=1e-10, relative=1e-12)


@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("threads", [1, 3])
def test_native_kernels_equal_heads_filled_up(isa: str, threads: int) -> None:
    """Of the usual heads: many reads of a few of them, one or two cells of the others."""
    case = Case(B=2, T=40, H=4, K=4, J=16, D=11, N=50, reset=True, lengths=True, tag=8)
    u = uneven(case, [2, 4, 1, 2], [2, 16, 2, 2], torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with native.use(isa):
            found = everything(u.scan, u.x, case)
            wanted = u.stripped(everything(fast, u.filled_up(), case))
    finally:
        torch.set_num_threads(before)
    # The products of a read are summed in another order if it has other lanes.
    assert_near(found, wanted, absolute=1e-5, relative=1e-5)
    assert torch.equal(found["final memory"], wanted["final memory"])


@pytest.mark.parametrize("kind", ["no-initial-memory", "tags-and-all-options"])
def test_operator_keeps_the_rules_of_torch_library(kind: str) -> None:
    case, x = small(kind)
    u = Uneven(x, [1, 2], [2, 1])
    counts = [1, 2, 2, 1]
    opcheck(torch.ops.ramgru.memory_scan, (*arguments(u.x), case.N, counts, True))
    with torch.no_grad():
        outputs, _, rows, *saved = torch.ops.ramgru.memory_scan(
            *arguments(u.x), case.N, counts, True
        )
    plain = [None if v is None else v.detach() for v in arguments(u.x)]
    given = (torch.ones_like(outputs), torch.ones_like(rows), *plain, case.N, counts, saved)
    opcheck(torch.ops.ramgru.memory_scan_backward, given)


def of_leaves(u: Uneven, case: Case) -> tuple[Any, list[Tensor]]:
    names = floating(u.x)

    def scan(*values: Tensor) -> tuple[Tensor, ...]:
        given = {**u.x, **dict(zip(names, values, strict=True))}
        outputs, _, rows = memory_scan(**given, memory_size=case.N, **u.options)
        return outputs, rows

    return scan, [u.x[name].detach().requires_grad_() for name in names]


@pytest.mark.parametrize("kind", ["no-initial-memory", "tags-and-all-options"])
def test_derivatives_of_both_orders(kind: str) -> None:
    case, x = small(kind)
    scan, leaves = of_leaves(Uneven(x, [1, 2], [2, 1]), case)
    assert gradcheck(scan, leaves, fast_mode=True)
    assert gradgradcheck(scan, leaves, fast_mode=True)


def test_vmap_of_gradients_equals_a_loop() -> None:
    case, x = small("no-initial-memory")
    u = Uneven(x, [1, 2], [2, 1])
    scan, leaves = of_leaves(u, case)
    many = [torch.stack([v.detach(), v.detach() * 0.5]) for v in leaves]

    def loss(*values: Tensor) -> Tensor:
        return scan(*values)[0].square().sum()

    numbers = tuple(range(len(many)))
    found = vmap(grad(loss, numbers))(*many)
    for i in range(2):
        one = [v[i].requires_grad_() for v in many]
        for f, w in zip(found, torch.autograd.grad(loss(*one), one), strict=True):
            torch.testing.assert_close(f[i], w, rtol=0, atol=1e-12)


def test_compiles() -> None:
    case, x = small("no-initial-memory")
    u = Uneven(x, [1, 2], [2, 1])
    scan, leaves = of_leaves(u, case)
    compiled = torch.compile(scan, backend="aot_eager", fullgraph=True)
    for f, w in zip(compiled(*leaves), scan(*leaves), strict=True):
        assert torch.equal(f, w)


WRONG = {
    "one-count": (
        {"read_counts": None},
        "read_counts: expected the counts of both writes and reads, got None",
    ),
    "heads": ({"write_counts": [3]}, "write_counts: expected 2 numbers of 1 or more, got [3]"),
    "none": ({"read_counts": [3, 0]}, "read_counts: expected 2 numbers of 1 or more, got [3, 0]"),
    "sum": ({"write_counts": [1, 1]}, "write_index: expected shape (2, 4, 2), got (2, 4, 3)"),
}


@pytest.mark.parametrize("name", WRONG)
def test_says_what_does_not_fit(name: str) -> None:
    changed, message = WRONG[name]
    case, x = small("no-initial-memory")
    u = Uneven(x, [1, 2], [2, 1])
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        memory_scan(**u.x, memory_size=case.N, **{**u.options, **changed})
