"""Inputs of `memory_scan` drawn from a few numbers, and its results and gradients to compare.

A case is a small dataclass, so that hypothesis can shrink and print it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from ramgru.kernels.memory_scan import memory_scan, reference
from ramgru.kernels.memory_scan.inputs import Inputs

Tensors = dict[str, Tensor]
Scan = Callable[[Tensors, "Case"], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Case:
    """B sequences, T steps, H heads, K writes and J reads a step, width D, N cells."""

    B: int = 2
    T: int = 6
    H: int = 2
    K: int = 3
    J: int = 2
    D: int = 3
    N: int = 7
    initial: str = "none"  # "none", "cells" (some, with unused places) or "dense" (all rows)
    fresh: bool = False
    reset: bool = False
    lengths: bool = False
    holes: bool = False  # some addresses are -1: no access
    strided: bool = False  # inputs and upstream gradients that are not contiguous
    tag: int = 0  # A, numbers of a row that are its tag, behind its D values; 0: no tags
    seed: int = 0

    def tensors(self, dtype: torch.dtype = torch.float64) -> Tensors:
        B, T, H, K, J, N = self.B, self.T, self.H, self.K, self.J, self.N
        D = self.D + self.tag
        g = torch.Generator().manual_seed(self.seed)

        def normal(*shape: int) -> Tensor:
            return torch.randn(shape, generator=g, dtype=torch.float64)

        def unit(*shape: int) -> Tensor:
            """In [0, 1], sometimes exactly 0 or 1."""
            value = torch.rand(shape, generator=g, dtype=torch.float64) * 1.4 - 0.2
            return value.clamp(0, 1)

        def integers(high: int, *shape: int) -> Tensor:
            return torch.randint(high, shape, generator=g)

        x = {
            "write_index": integers(N, B, T, H, K),
            "write_weight": unit(B, T, H, K),
            "gate": unit(B, T, H),
            "candidate": normal(B, T, H, D),
            "read_index": integers(N, B, T, H, J),
            "read_weight": unit(B, T, H, J),
        }
        if self.initial == "dense":
            x["initial_rows"] = normal(B, H, N, D)
        if self.initial == "cells":
            P = max(1, N // 2)
            cells = torch.rand(B, H, N, generator=g).argsort(-1)[..., :P]  # each at most once
            x["initial_cells"] = cells.masked_fill(integers(4, B, H, P) == 0, -1)
            x["initial_rows"] = normal(B, H, P, D)
        if self.fresh:
            columns = 2 if N > 1 else 1
            x["fresh_left"] = normal(H, -(-N // columns), D)
            x["fresh_right"] = normal(H, columns, D)
        if self.reset:
            x["reset"] = integers(3, B, T) == 0
        if self.lengths:
            x["lengths"] = integers(T + 1, B)
        if self.holes:
            for name in ("write_index", "read_index"):
                x[name] = x[name].masked_fill(integers(3, *x[name].shape) == 0, -1)
        if self.tag:
            # A gradient of a weight is a quotient by it: none is tiny, but some are 0.
            tiny = (x["read_weight"] > 0) & (x["read_weight"] < 0.1)
            x["read_weight"] = x["read_weight"].masked_fill(tiny, 0.1)
            x["query"] = normal(B, T, H, self.tag)
            x["match"] = 2 * normal(H)
            x["null"] = normal(H)
            if self.seed % 3 == 0:
                x["null"][0] = float("-inf")
            if self.seed % 5 == 0:
                x["match"][0] = 0
            # Zero vectors, and none that are nearly so: directions of those are badly conditioned.
            for name in ("query", "candidate"):
                v = x[name][..., -self.tag :]
                v += v.sign() / 2
                v.masked_fill_(integers(4, B, T, H, 1) == 0, 0)
            for name in ("gate", "write_weight"):
                x[name][x[name] < 0.05] = 0
        for name in floating(x):
            x[name] = x[name].to(dtype)
            if self.strided:
                x[name] = x[name].transpose(0, -1).contiguous().transpose(0, -1)
        return x


def cases(**fixed: Any) -> st.SearchStrategy[Case]:
    """Any case; `fixed` gives fields a value, or a strategy of their own."""
    size = st.integers(1, 3)
    fields: dict[str, Any] = {
        "B": size,
        "T": st.integers(1, 7),
        "H": st.integers(1, 2),
        "K": size,
        "J": size,
        "D": size,
        "N": st.sampled_from([1, 2, 5, 40]),
        "initial": st.sampled_from(["none", "cells", "dense"]),
        "fresh": st.booleans(),
        "reset": st.booleans(),
        "lengths": st.booleans(),
        "holes": st.booleans(),
        "strided": st.booleans(),
        "tag": st.sampled_from([0, 1, 2, 5]),
        "seed": st.integers(0, 2**20),
    }
    for name, value in fixed.items():
        fields[name] = value if isinstance(value, st.SearchStrategy) else st.just(value)
    return st.builds(Case, **fields)


def floating(x: Tensors) -> list[str]:
    return [name for name, value in x.items() if value.is_floating_point()]


def at_step(x: Tensors, t: int) -> Tensors:
    """The arguments of `step_` at step t, but for the rows"""
    return {name: v if name in ("match", "null") else v[:, t] for name, v in x.items()}


def slow(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
    """-> outputs and all rows of the final memory, by the reference"""
    return reference(**x, memory_size=case.N)


def fast(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
    """-> the same by the operator"""
    outputs, cells, rows = memory_scan(**x, memory_size=case.N)
    return outputs, all_rows(cells, rows, x, case.N)


def all_rows(cells: Tensor, rows: Tensor, x: Tensors, memory_size: int) -> Tensor:
    """A final memory as `memory_scan` returns it -> the rows of all cells (B, H, N, D)"""
    B, H, P, D = rows.shape
    if cells.shape[-1] == 0 and memory_size == P:
        return rows
    full = rows.new_zeros(B, H, memory_size + 1, D)  # the last row is for unused places
    if "fresh_left" in x:
        fresh = x["fresh_left"].unsqueeze(2) + x["fresh_right"].unsqueeze(1)  # (H, R, C, D)
        fresh = fresh.flatten(1, 2)[:, :memory_size].expand(B, -1, -1, -1)
        full = torch.cat([fresh, full[:, :, :1]], dim=2)
    where = torch.where(cells < 0, memory_size, cells).unsqueeze(-1).expand(-1, -1, -1, D)
    return full.to(rows.dtype).scatter(2, where, rows)[:, :, :memory_size]


def everything(scan: Scan, x: Tensors, case: Case) -> Tensors:
    """Outputs, final memory, and the gradient of every floating-point input, by name.

    The upstream gradients are drawn from the case's seed: the same for every path.
    """
    leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
    outputs, memory = scan({**x, **leaves}, case)
    g = torch.Generator().manual_seed(case.seed + 1)
    upstream = [
        torch.randn(value.shape, generator=g, dtype=torch.float64).to(value.device, value.dtype)
        for value in (outputs, memory)
    ]
    if case.strided:
        upstream = [g.transpose(1, -1).contiguous().transpose(1, -1) for g in upstream]
    # A case may have no step, and then no output depends on anything.
    pairs = [(v, u) for v, u in zip((outputs, memory), upstream, strict=True) if v.requires_grad]
    grads = torch.autograd.grad(
        [v for v, _ in pairs],
        list(leaves.values()),
        [u for _, u in pairs],
        allow_unused=True,
        materialize_grads=True,
    )
    found = {f"grad of {name}": grad for name, grad in zip(leaves, grads, strict=True)}
    return {"outputs": outputs.detach(), "final memory": memory.detach(), **found}


def assert_near(
    found: Tensors, wanted: Tensors, *, absolute: float = 0.0, relative: float = 0.0
) -> None:
    """All values near the wanted ones; `relative` refers to the largest value of the tensor."""
    assert found.keys() == wanted.keys()
    for name, value in found.items():
        want = wanted[name]
        assert value.shape == want.shape, name
        if not value.numel():
            continue
        far = (value.double() - want.double()).abs().max().item()
        bar = absolute + relative * want.double().abs().max().item()
        assert far <= bar, f"{name}: off by {far:.3g}, at most {bar:.3g} is allowed"


SMALL = {
    "no-initial-memory": Case(T=4, K=2, D=2, N=40),
    "cells-and-all-options": Case(
        T=4, K=2, D=2, N=40, initial="cells", fresh=True, reset=True, lengths=True
    ),
    "cells-to-all-rows": Case(T=4, K=2, D=2, N=5, initial="cells", fresh=True, reset=True),
    "all-rows-and-all-options": Case(
        T=4, K=2, D=2, N=5, initial="dense", fresh=True, reset=True, lengths=True
    ),
    "tags-and-all-options": Case(
        T=4, K=2, D=2, N=40, initial="cells", fresh=True, reset=True, lengths=True, tag=2
    ),
}


def small(kind: str) -> tuple[Case, Tensors]:
    case = Case(**{**SMALL[kind].__dict__})
    x = case.tensors()
    if case.tag:  # finite differences: a cosine jumps where a vector is zero
        for name in ("gate", "write_weight", "read_weight"):
            x[name].clamp_(0.1, 0.9)
        for name in ("query", "candidate"):
            x[name][x[name] == 0] = 1
    return case, x


def of_leaves(x: Tensors, case: Case) -> tuple[Callable[..., tuple[Tensor, Tensor]], list[Tensor]]:
    """-> the scan as a function of its floating-point inputs, and these inputs"""
    names = floating(x)

    def scan(*values: Tensor) -> tuple[Tensor, Tensor]:
        given = {**x, **dict(zip(names, values, strict=True))}
        outputs, _, rows = memory_scan(**given, memory_size=case.N)
        return outputs, rows

    return scan, [x[name].detach().requires_grad_() for name in names]


def arguments(x: Tensors) -> list[Tensor | None]:
    """The operator's tensors in order, with gradients for the floating-point ones."""
    leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
    return [{**x, **leaves}.get(name) for name in Inputs._fields]
