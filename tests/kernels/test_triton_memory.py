"""`memory_scan` by its Triton kernels: on a GPU, or through Triton's interpreter on the CPU.

The interpreter is slow, so the cases are small and the blocks shorter than on a GPU.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from memory_cases import (
    Case,
    Tensors,
    all_rows,
    assert_near,
    at_step,
    cases,
    everything,
    fast,
    floating,
)
from memory_cases import slow as by_equations
from torch import Tensor
from torch.func import grad, vmap
from torch.library import opcheck

from ramgru.kernels import gpu, native
from ramgru.kernels.memory_scan import memory_scan, step_
from ramgru.kernels.memory_scan.inputs import Inputs

pytestmark = pytest.mark.gpu
ALL = {"fresh": True, "reset": True, "lengths": True, "holes": True}


@pytest.fixture(scope="module")
def modules(gpu_device):
    """The modules of the kernels, which import triton."""
    from ramgru.kernels.memory_scan import triton

    return triton, triton.scan, triton.rows


@pytest.fixture
def draw(modules, gpu_device, monkeypatch):
    """Draws the tensors of a case on the device; blocks have 8 events."""
    monkeypatch.setattr(modules[1], "EVENTS", 8)
    return on(gpu_device)


@pytest.fixture
def narrow(modules, monkeypatch):
    """Programs of 2 columns, so that short rows have several parts."""
    monkeypatch.setattr(modules[2], "WIDTH", 2)


def on(device: str):
    def tensors(case: Case, dtype: torch.dtype = torch.float32) -> Tensors:
        return {name: value.to(device) for name, value in case.tensors(dtype).items()}

    return tensors


def wanted(x: Tensors, case: Case) -> Tensors:
    """Results and gradients by the reference, in float64 on the CPU."""
    wide = {name: value.cpu() for name, value in x.items()}
    return everything(by_equations, {**wide, **{n: wide[n].double() for n in floating(x)}}, case)


def found(x: Tensors, case: Case) -> Tensors:
    return {name: value.cpu() for name, value in everything(fast, x, case).items()}


def check(x: Tensors, case: Case) -> None:
    # All terms are near 1, and some gradients are the small rest of terms that cancel; those of
    # tags are divided by the tags' lengths.
    absolute = 1e-5 if case.tag else 2e-6
    assert_near(found(x, case), wanted(x, case), absolute=absolute, relative=1e-5)


def bits(value: Tensor) -> Tensor:
    return value.contiguous().view(torch.int32)


CORNERS = {
    "one-of-everything": Case(B=1, T=1, H=1, K=1, J=1, D=1, N=1, initial="dense"),
    "one-cell-many-writes": Case(B=1, T=3, H=1, K=4, J=3, N=1, initial="cells", fresh=True),
    "no-steps": Case(T=0, N=9, initial="cells", fresh=True, reset=True, lengths=True),
    "no-steps-and-all-rows": Case(T=0, initial="dense", fresh=True),
    "no-sequences": Case(B=0, initial="cells", fresh=True, reset=True, lengths=True),
    "one-step": Case(T=1, K=2, J=1, N=9, initial="cells", fresh=True),
    "compact": Case(B=1, T=3, K=2, N=14, initial="cells", **ALL),
    "compact-to-all-rows": Case(T=4, H=1, K=2, J=1, N=5, initial="cells", **ALL),
    "all-rows": Case(T=5, H=1, N=6, initial="dense", **ALL),
    "all-rows-without-fresh": Case(B=1, T=4, K=2, N=6, initial="dense", reset=True),
    "tags": Case(B=1, T=4, H=2, K=2, N=9, initial="cells", **ALL, tag=3),
    "tags-in-all-rows": Case(B=2, T=3, H=1, K=1, J=3, N=4, initial="dense", tag=2, seed=15),
    "nothing-given": Case(T=4, H=1, K=2, N=9),
    "strided": Case(B=2, T=3, H=1, K=2, D=2, N=4, initial="cells", fresh=True, strided=True),
}


def test_the_kernels_are_what_runs(modules, draw, monkeypatch):
    path, calls = modules[0], []
    for name in ("forward", "backward"):
        real = getattr(path, name)
        monkeypatch.setattr(path, name, lambda *a, n=name, r=real: calls.append(n) or r(*a))
    case = Case(B=1, T=2, H=1)
    everything(fast, draw(case), case)
    assert calls == ["forward", "backward"]
    everything(fast, draw(case, torch.float64), case)
    with gpu.use(gpu.OFF):
        everything(fast, draw(case), case)
    assert calls == ["forward", "backward"]


@pytest.mark.parametrize("name", CORNERS)
def test_equals_the_reference_in_corners(draw, name):
    case = CORNERS[name]
    check(draw(case), case)


def test_equals_the_reference(draw):
    @settings(max_examples=5)
    @given(cases(B=1, T=st.integers(1, 3), H=st.integers(1, 2), N=st.sampled_from([1, 5, 9])))
    def run(case: Case) -> None:
        check(draw(case), case)

    run()


@pytest.mark.usefixtures("narrow")
@pytest.mark.parametrize("D", [1, 2, 5])
def test_at_the_edges_of_the_width(draw, D):
    case = Case(B=1, T=2, H=1, K=2, D=D, N=4, initial="dense", fresh=True)
    check(draw(case), case)


@pytest.mark.parametrize("T", [3, 4, 5])
def test_one_cell_over_blocks_of_blocks(draw, modules, monkeypatch, T):
    """Chains of 12, 16 and 20 events: at 4 a block, one, one and two rounds of the blocks."""
    monkeypatch.setattr(modules[1], "EVENTS", 4)
    case = Case(B=1, T=T, H=1, K=2, J=2, D=2, N=1, initial="dense")
    x = draw(case)
    x["write_weight"] *= 0.1  # so that what is carried over many blocks still counts
    check(x, case)


def test_with_blocks_of_the_usual_size(modules, gpu_device):
    case = Case(B=1, T=20, H=1, K=2, J=2, D=3, N=2, initial="dense", fresh=True)
    check(on(gpu_device)(case), case)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_is_computed_wide(draw, dtype):
    case = Case(B=1, T=4, H=2, K=2, D=2, N=9, initial="cells", **ALL)
    x = draw(case, dtype)
    got = found(x, case)
    # All that is lost is one rounding of what comes out.
    assert_near(got, wanted(x, case), relative=torch.finfo(dtype).eps)
    assert got["outputs"].dtype == dtype
    assert got["final memory"].dtype == torch.float32
    assert got["grad of gate"].dtype == dtype


def test_each_input_may_have_its_own_type(draw):
    case = Case(B=1, T=4, H=1, N=5, initial="dense", fresh=True)
    x = draw(case)
    x["candidate"] = x["candidate"].bfloat16()
    x["fresh_left"] = x["fresh_left"].half()
    x["gate"] = x["gate"].bfloat16()
    got = found(x, case)
    assert got["outputs"].dtype == torch.bfloat16
    assert got["grad of fresh_left"].dtype == torch.float16
    assert_near(got, wanted(x, case), relative=torch.finfo(torch.bfloat16).eps)


def test_gate_zero_and_unaddressed_cells_keep_every_bit(draw):
    case = Case(T=5, N=12, initial="dense")
    x = draw(case)
    x["initial_rows"][..., ::2] = -0.0  # equal to 0.0, but not its bits
    x["gate"][0] = 0
    x["candidate"][0] = float("nan")  # never looked at
    before = bits(x["initial_rows"]).clone()
    _, _, rows = memory_scan(**x, memory_size=12)
    written = torch.zeros(2, 2, 12, dtype=torch.bool, device=rows.device)
    written.scatter_(2, x["write_index"].transpose(1, 2).flatten(2), True)
    written[0] = False
    assert 0 < written[1].sum() < written[1].numel()
    assert torch.equal(bits(rows)[~written], before[~written])


def test_gate_one_and_weight_one_replace_the_row_bitwise(draw):
    x = draw(Case(T=1, K=1, J=1, initial="dense"))
    for name in ("gate", "write_weight", "read_weight"):
        x[name].fill_(1)
    x["read_index"] = x["write_index"]
    outputs, _, rows = memory_scan(**x, memory_size=7)
    where = x["write_index"].transpose(1, 2).expand(-1, -1, -1, 3)
    assert torch.equal(bits(rows.gather(2, where)), bits(x["candidate"].transpose(1, 2)))
    assert torch.equal(bits(outputs), bits(x["candidate"]))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_what_is_not_finite_is_so_where_it_is_in_torch(draw, bad):
    case = Case(B=1, T=12, H=1, K=2, D=2, N=4, initial="dense", reset=True)
    x = draw(case)
    x["reset"][:] = torch.arange(12, device=x["reset"].device) == 9
    x["candidate"][0, 2, 0, 0] = bad
    got = found(x, case)
    with gpu.use(gpu.OFF), native.use(native.PORTABLE):
        want = found(x, case)
    for name in ("outputs", "final memory"):
        assert torch.equal(got[name].isfinite(), want[name].isfinite()), name
    assert not got["outputs"][0, 2:9].isfinite().all()
    assert got["outputs"][0, 9:].isfinite().all()


@pytest.mark.parametrize("initial", ["cells", "dense"])
def test_nan_stays_in_its_sequence(draw, initial):
    case = Case(B=3, T=4, H=1, K=2, J=1, N=9, initial=initial, reset=True)
    x = draw(case)
    clean = found(x, case)
    for name in floating(x):
        x[name][1] = float("nan")
    for name, value in found(x, case).items():
        assert torch.equal(value[::2], clean[name][::2]), name


def test_nothing_behind_a_length_counts(draw):
    """NaN and invalid indices in the padding change no bit."""
    case = Case(B=3, T=5, H=1, K=2, J=1, N=4, initial="dense", fresh=True, reset=True)
    x = draw(case)
    x["lengths"] = torch.tensor([0, 3, 5], device=x["gate"].device)
    clean = found(x, case)
    behind = torch.arange(5, device=x["gate"].device) >= x["lengths"][:, None]
    for name in ("write_weight", "gate", "candidate", "read_weight"):
        x[name][behind] = float("nan")
    x["reset"][behind] = True
    x["write_index"][behind] = -1
    x["read_index"][behind] = 10**9
    got = found(x, case)
    for name, value in got.items():
        assert torch.equal(value, clean[name]), name
    assert not got["outputs"][behind.cpu()].any()
    for name in ("write_weight", "gate", "candidate", "read_weight"):
        assert not got[f"grad of {name}"][behind.cpu()].any(), name


def test_the_same_bits_twice(draw):
    case = Case(B=1, T=6, H=1, K=2, N=5, initial="cells", **ALL)
    x = draw(case)
    first, second = found(x, case), found(x, case)
    assert all(torch.equal(value, second[name]) for name, value in first.items())


def test_a_sequence_alone_has_the_bits_that_it_has_in_a_batch(draw):
    x = draw(Case(B=3, T=5, H=1, N=12, initial="cells"))
    batch = memory_scan(**x, memory_size=12)
    alone = memory_scan(**{n: v[1:2] for n, v in x.items()}, memory_size=12)
    for a, b in zip(alone, batch, strict=True):
        assert torch.equal(a[0], b[1])


def test_pieces_equal_the_whole(draw):
    """From no memory to a compact one to a dense one."""
    case = Case(B=1, T=9, H=1, K=2, N=14, fresh=True)
    x = draw(case)
    fresh = {name: x.pop(name) for name in ("fresh_left", "fresh_right")}
    whole = memory_scan(**x, **fresh, memory_size=14)
    outputs, carried = [], {}
    for start, stop in ((0, 2), (2, 3), (3, 9)):
        piece = {name: value[:, start:stop] for name, value in x.items()}
        y, cells, rows = memory_scan(**piece, **carried, **fresh, memory_size=14)
        carried = {"initial_cells": cells, "initial_rows": rows}
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), whole[0], rtol=1e-5, atol=1e-6)
    got = all_rows(cells, rows, fresh, 14)
    torch.testing.assert_close(got, all_rows(*whole[1:], fresh, 14), rtol=1e-5, atol=1e-6)


def test_inputs_are_never_changed_and_share_no_memory_with_outputs(draw):
    case = Case(B=1, T=2, N=4, initial="dense", fresh=True, reset=True, lengths=True)
    x = draw(case)
    before = {name: value.clone() for name, value in x.items()}
    everything(fast, x, case)
    for value in memory_scan(**x, memory_size=4):
        value.zero_()
    assert all(torch.equal(value, before[name]) for name, value in x.items())


def test_without_final_memory_the_rest_is_the_same(draw):
    x = draw(Case(T=3, H=1, initial="cells", fresh=True))
    outputs, cells, rows = memory_scan(**x, memory_size=7, want_final=False)
    assert torch.equal(outputs, memory_scan(**x, memory_size=7)[0])
    assert cells.shape == (2, 1, 0)
    assert rows.shape == (2, 1, 0, 3)


def test_backward_may_run_on_another_path_than_forward(draw):
    case = Case(B=1, T=4, H=1, initial="cells", **ALL)
    x = draw(case)
    leaves = {name: x[name].detach().requires_grad_() for name in floating(x)}
    found = []
    for first, second in ((gpu.ON, gpu.OFF), (gpu.OFF, gpu.ON), (gpu.OFF, gpu.OFF)):
        with native.use(native.PORTABLE):
            with gpu.use(first):
                outputs, memory = fast({**x, **leaves}, case)
            with gpu.use(second):
                loss = outputs.square().sum() + memory.square().sum()
                found.append(torch.autograd.grad(loss, list(leaves.values())))
    for got in found[:2]:
        for value, want in zip(got, found[2], strict=True):
            torch.testing.assert_close(value, want, rtol=1e-4, atol=1e-5)


def test_what_is_kept_for_backward_does_not_grow_with_the_memory(draw):
    """Versions of T·K rows a sequence and head, and integers; also at 2^40 cells."""
    case = Case(T=5, N=2**20)
    x = draw(case)
    for name in ("write_index", "read_index"):
        x[name] *= 2**20
    given = [x.get(name) for name in Inputs._fields]
    kept = torch.ops.ramgru.memory_scan(*given, 2**40, [], False)[3:]
    sizes = [value.numel() for value in kept if value.is_floating_point()]
    assert sizes == [2 * 5 * 2 * 3 * 3]
    assert all(
        value.numel() <= 2 * 2 * 5 * (3 + 2) for value in kept if not value.is_floating_point()
    )


@pytest.mark.parametrize(("D", "tag"), [(1, 0), (37, 0), (1, 1), (37, 5)])
def test_a_step_in_place_equals_a_scan_of_one_step(modules, gpu_device, D, tag):
    case = Case(B=3, T=3, H=2, K=3, D=D, N=6, initial="dense", holes=True, tag=tag, seed=15)
    x = on(gpu_device)(case)
    x["initial_rows"][..., ::3] = -0.0
    rows = x.pop("initial_rows")
    start = rows.clone()
    with gpu.use(gpu.OFF), native.use(native.PORTABLE):
        outputs, _, want = memory_scan(**x, initial_rows=rows, memory_size=6)
    version = rows._version
    for t in range(case.T):
        y = step_(rows, **at_step(x, t))
        torch.testing.assert_close(y, outputs[:, t], rtol=1e-5, atol=1e-6)
    assert rows._version > version
    torch.testing.assert_close(rows, want, rtol=1e-5, atol=1e-6)
    frozen = torch.ones(rows.shape, dtype=torch.bool)
    for b in range(case.B):
        for h in range(case.H):
            change = (x["gate"][b, :, h, None] * x["write_weight"][b, :, h]) != 0
            frozen[b, h, x["write_index"][b, :, h][change].clamp_min(0).cpu()] = False
    assert 0 < frozen.sum() < frozen.numel()
    assert torch.equal(bits(rows).cpu()[frozen], bits(start).cpu()[frozen])


def test_second_derivatives_equal_those_of_the_reference(draw):
    def second(scan, x: Tensors) -> list[Tensor]:
        leaves = {n: x[n].detach().requires_grad_() for n in floating(x)}
        outputs, memory = scan({**x, **leaves}, case)
        loss = outputs.pow(3).sum() + memory.pow(3).sum()
        grads = torch.autograd.grad(loss, list(leaves.values()), create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in grads), leaves.values()))

    case = Case(B=1, T=3, H=1, K=2, D=2, N=3, initial="dense")
    x = draw(case)
    exact = {n: v.double().cpu() if n in floating(x) else v.cpu() for n, v in x.items()}
    for got, want in zip(second(fast, x), second(by_equations, exact), strict=True):
        assert (got.cpu() - want).abs().max() <= 1e-5 * want.abs().max()


def test_vmap_gives_each_sequence_its_part_of_a_shared_gradient(draw):
    x = draw(Case(B=2, T=2, H=1, K=2, J=1, N=10, initial="cells", fresh=True, reset=True))
    fresh = {name: x.pop(name) for name in ("fresh_left", "fresh_right")}

    def loss(fresh: Tensors, one: Tensors) -> Tensor:
        batch = {name: value.unsqueeze(0) for name, value in one.items()}
        outputs, _, rows = memory_scan(**batch, **fresh, memory_size=10)
        return outputs.square().sum() + rows.square().sum()

    got = vmap(grad(loss), (None, 0))(fresh, x)
    for b in range(2):
        want = grad(loss)(fresh, {name: value[b] for name, value in x.items()})
        for name in fresh:
            torch.testing.assert_close(got[name][b], want[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["compact", "all-rows"])
def test_operator_keeps_the_rules_of_torch_library(draw, name):
    case = Case(**{**CORNERS[name].__dict__, "B": 1, "H": 1, "T": 2})
    x = draw(case)
    leaves = {n: x[n].requires_grad_() for n in floating(x)}
    args = [{**x, **leaves}.get(n) for n in Inputs._fields]
    opcheck(torch.ops.ramgru.memory_scan, (*args, case.N, [], True))
    plain = [None if v is None else v.detach() for v in args]
    outputs, _, rows, *saved = torch.ops.ramgru.memory_scan(*plain, case.N, [], True)
    given = (torch.ones_like(outputs), torch.ones_like(rows), *plain, case.N, [], saved)
    opcheck(torch.ops.ramgru.memory_scan_backward, given)


def test_compiled_equals_eager(draw):
    torch.compiler.reset()
    compiled = torch.compile(memory_scan, fullgraph=True, backend="aot_eager")
    case = Case(B=1, T=3, H=1, K=2, N=14, initial="cells", **ALL)
    x = draw(case)

    def scan(x: Tensors, case: Case) -> tuple[Tensor, Tensor]:
        outputs, cells, rows = compiled(**x, memory_size=case.N)
        return outputs, all_rows(cells, rows, x, case.N)

    assert_near(everything(scan, x, case), everything(fast, x, case))
