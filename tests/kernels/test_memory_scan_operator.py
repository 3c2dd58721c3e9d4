"""`memory_scan` as an operator of torch: opcheck, vmap, jacrev, compile."""

from __future__ import annotations

import pytest
import torch
from memory_cases import (
    SMALL,
    Case,
    Tensors,
    arguments,
    assert_near,
    at_step,
    everything,
    floating,
    of_leaves,
    small,
)
from torch import Tensor
from torch.func import grad, jacrev, vmap
from torch.library import opcheck

import ramgru.onnx  # noqa: F401 - what it gives the exporter must leave other graphs alone
from ramgru.kernels.memory_scan import memory_scan, step_

KINDS = pytest.mark.parametrize("kind", SMALL)
WITH_ALL_OPTIONS = ["cells-and-all-options", "all-rows-and-all-options"]


@KINDS
def test_operator_keeps_the_rules_of_torch_library(kind: str) -> None:
    case, x = small(kind)
    want_final = kind != "no-initial-memory"
    opcheck(torch.ops.ramgru.memory_scan, (*arguments(x), case.N, [], want_final))


@pytest.mark.parametrize("kind", WITH_ALL_OPTIONS)
def test_backward_operator_keeps_the_rules_of_torch_library(kind: str) -> None:
    case, x = small(kind)
    with torch.no_grad():
        outputs, _, rows, *saved = torch.ops.ramgru.memory_scan(*arguments(x), case.N, [], True)
    g = torch.Generator().manual_seed(1)
    upstream = [torch.randn(v.shape, generator=g, dtype=v.dtype) for v in (outputs, rows)]
    plain = [None if v is None else v.detach() for v in arguments(x)]
    for given in (upstream, [upstream[0], None]):
        opcheck(torch.ops.ramgru.memory_scan_backward, (*given, *plain, case.N, [], saved))
    # Second derivatives read integers from the data, so they run eagerly alone.
    args = (*(v.requires_grad_() for v in upstream), *arguments(x), case.N, [], saved)
    eager = ("test_schema", "test_autograd_registration", "test_faketensor")
    opcheck(torch.ops.ramgru.memory_scan_backward, args, test_utils=eager)


@pytest.mark.parametrize("tag", [0, 3])
def test_a_compiled_step_overwrites_what_an_eager_one_does(tag: int) -> None:
    case = Case(B=2, T=1, H=3, K=2, D=7, N=5, initial="dense", holes=True, tag=tag, seed=3)
    x = case.tensors()
    rows, step = x["initial_rows"], at_step(x, 0)
    del step["initial_rows"]
    names = ("write_index", "write_weight", "gate", "candidate", "read_index", "read_weight")
    more = ("query", "match", "null")
    given = (*(step[name] for name in names), *(step.get(name) for name in more))
    opcheck(torch.ops.ramgru.memory_step_, (rows.clone(), *given))
    torch.compiler.reset()
    compiled = torch.compile(step_, fullgraph=True, backend="aot_eager")
    eager, graph = rows.clone(), rows.clone()
    wanted, found = step_(eager, **step), compiled(graph, **step)
    assert torch.equal(found, wanted)
    assert torch.equal(graph, eager)
    assert not torch.equal(graph, rows)


@KINDS
def test_vmap_equals_a_loop(kind: str) -> None:
    """Over a new dimension, with shared integers and a shared fresh memory."""
    case, x = small(kind)
    scan, leaves = of_leaves(x, case)
    fresh = [name.startswith("fresh") for name in floating(x)]
    g = torch.Generator().manual_seed(2)
    many = [
        v.detach() if same else torch.rand(3, *v.shape, generator=g, dtype=v.dtype)
        for v, same in zip(leaves, fresh, strict=True)
    ]
    dims = tuple(None if same else 0 for same in fresh)

    def loss(*values: Tensor) -> Tensor:
        outputs, rows = scan(*values)
        return outputs.square().sum() + (rows**3).sum()

    numbers = tuple(range(len(many)))
    each = [[v if same else v[i] for v, same in zip(many, fresh, strict=True)] for i in range(3)]
    for found, wanted in (
        (vmap(scan, dims)(*many), [scan(*values) for values in each]),
        (
            vmap(grad(loss, numbers), dims)(*many),
            [torch.autograd.grad(loss(*v), v) for v in _leaves(each)],
        ),
    ):
        for a, *b in zip(found, *wanted, strict=True):
            torch.testing.assert_close(a, torch.stack(b), rtol=0, atol=1e-12)


def _leaves(each: list[list[Tensor]]) -> list[list[Tensor]]:
    return [[v.detach().clone().requires_grad_() for v in values] for values in each]


def test_per_sequence_gradients_of_the_shared_fresh_memory() -> None:
    """vmap over the batch, integers included: each sequence's own part of a shared gradient."""
    case = Case(B=3, T=5, N=40, initial="cells", fresh=True, reset=True, lengths=True)
    x = case.tensors()
    fresh = {name: x.pop(name) for name in ("fresh_left", "fresh_right")}

    def loss(fresh: Tensors, one: Tensors) -> Tensor:
        batch = {name: value.unsqueeze(0) for name, value in one.items()}
        outputs, _, rows = memory_scan(**batch, **fresh, memory_size=40)
        return outputs.square().sum() + (rows**3).sum()

    found = vmap(grad(loss), (None, 0))(fresh, x)
    for b in range(3):
        wanted = grad(loss)(fresh, {name: value[b] for name, value in x.items()})
        for name in fresh:
            torch.testing.assert_close(found[name][b], wanted[name], rtol=0, atol=1e-12)


def test_jacrev_equals_autograd() -> None:
    scan, leaves = of_leaves(*reversed(small("cells-and-all-options")))
    found = jacrev(lambda *v: scan(*v)[0], tuple(range(len(leaves))))(*leaves)
    wanted = torch.autograd.functional.jacobian(lambda *v: scan(*v)[0], tuple(leaves))
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kind", WITH_ALL_OPTIONS)
def test_compiled_equals_eager(kind: str) -> None:
    case, x = small(kind)
    torch.compiler.reset()
    compiled = torch.compile(memory_scan, fullgraph=True, backend="aot_eager")

    def scan(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        outputs, _, rows = compiled(**x, memory_size=case.N)
        return outputs, rows

    def eager(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        outputs, _, rows = memory_scan(**x, memory_size=case.N)
        return outputs, rows

    assert_near(everything(scan, x, case), everything(eager, x, case))


def test_one_compilation_serves_every_length() -> None:
    torch.compiler.reset()
    frames = torch._dynamo.testing.CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(memory_scan, fullgraph=True, backend=frames, dynamic=True)
    for T in (5, 6, 9):
        case = Case(T=T, N=400, initial="cells", fresh=True, reset=True, lengths=True)
        x = case.tensors()
        found = compiled(**x, memory_size=case.N)
        for a, b in zip(found, memory_scan(**x, memory_size=case.N), strict=True):
            assert torch.equal(a, b)
    assert frames.frame_count == 1
