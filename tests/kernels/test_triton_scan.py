"""`linear_scan` by its Triton kernel: on a GPU, or through Triton's interpreter on the CPU."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import assert_near, inputs, with_gradients
from torch import Tensor
from torch.func import vmap

from ramgru.kernels import gpu
from ramgru.kernels.recurrence import linear_scan
from ramgru.kernels.recurrence.reference import linear_scan as reference

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def kernel(gpu_device):
    """The module of the kernel, which only imports where triton is."""
    from ramgru.kernels.recurrence import triton

    return triton


@pytest.fixture
def draw(kernel, gpu_device, monkeypatch):
    """inputs(...) on the device, and chunks of 4 steps, so that few of them make three levels."""
    monkeypatch.setattr(kernel, "CHUNK", 4)
    return on(gpu_device)


def on(device):
    def made(*args, dtype=torch.float32, **options) -> list[Tensor]:
        return [v.to(device) for v in inputs(*args, dtype=dtype, **options)]

    return made


def exact(values: list[Tensor]) -> list[Tensor]:
    """States and gradients by the equation, in float64 on the CPU."""
    return with_gradients(reference, [v.double().cpu() for v in values])


def found(values: list[Tensor]) -> list[Tensor]:
    return [v.cpu() for v in with_gradients(linear_scan, values)]


def test_the_kernel_is_what_runs(kernel, draw, monkeypatch):
    calls = []
    real = kernel.linear_scan
    monkeypatch.setattr(kernel, "linear_scan", lambda *args: calls.append(args[3]) or real(*args))
    with_gradients(linear_scan, draw(2, 3, 4))
    assert calls == [False, True]
    with gpu.use(gpu.OFF):
        with_gradients(linear_scan, draw(2, 3, 4))
    with_gradients(linear_scan, draw(2, 3, 4, dtype=torch.float64))
    assert calls == [False, True]


SIZES = st.tuples(st.integers(0, 3), st.integers(0, 24), st.integers(1, 5))


@pytest.mark.parametrize("strided", [False, True])
def test_equals_the_reference(draw, strided):
    @settings(max_examples=15)
    @given(SIZES, st.integers(0, 2**20))
    def run(sizes: tuple[int, int, int], seed: int) -> None:
        values = draw(*sizes, seed=seed, strided=strided)
        assert_near(found(values), exact(values), relative=1e-5)

    run()


@pytest.mark.parametrize("T", [1, 2, 7, 8, 9, 12, 13, 33, 65])
def test_at_the_edges_of_chunks_and_levels(draw, T):
    values = draw(2, T, 3)
    assert_near(found(values), exact(values), relative=1e-5)


@pytest.mark.parametrize("H", [1, 127, 128, 129, 300])
def test_at_the_edges_of_tiles(draw, H):
    values = draw(2, 9, H)
    assert_near(found(values), exact(values), relative=1e-5)


@pytest.mark.parametrize("T", [127, 128, 129, 200])
def test_with_chunks_of_the_usual_length(kernel, gpu_device, T):
    values = on(gpu_device)(1, T, 2)
    assert_near(found(values), exact(values), relative=1e-5)


def test_a_million_steps(kernel, gpu_device):
    if gpu_device == "cpu":
        pytest.skip("the interpreter would need an hour; a GPU is wanted")
    values = on(gpu_device)(1, 2**20, 64)
    wanted = linear_scan(*(v.double().cpu() for v in values))
    assert_near([linear_scan(*values).cpu()], [wanted], relative=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_states_are_computed_wide(draw, dtype):
    values = draw(2, 40, 3, dtype=dtype)
    got, wanted = found(values), exact(values)
    assert {v.dtype for v in got} == {dtype}
    rounding = torch.finfo(dtype).eps
    assert_near(got[:1] * 4, wanted[:1] * 4, relative=rounding)
    assert_near(got, wanted, relative=4 * rounding)


def test_each_input_may_have_its_own_type(draw):
    decay, update, initial = draw(2, 9, 3)
    values = [decay, update.bfloat16(), initial.half()]
    got = linear_scan(*values)
    assert got.dtype == torch.bfloat16
    wanted = reference(*(v.double().cpu() for v in values))
    assert_near([got.cpu()], [wanted], relative=torch.finfo(torch.bfloat16).eps)


def test_equals_the_torch_path_where_one_chunk_is_enough(draw):
    values = draw(2, 8, 5)
    got = found(values)
    with gpu.use(gpu.OFF):
        assert_near(got, found(values), relative=1e-6)


@pytest.mark.parametrize("cut", [0, 3, 8, 21, 40])
def test_pieces_equal_the_whole(draw, cut):
    decay, update, initial = draw(2, 40, 3)
    first = linear_scan(decay[:, :cut], update[:, :cut], initial)
    state = first[:, -1] if cut else initial
    rest = linear_scan(decay[:, cut:], update[:, cut:], state)
    whole = linear_scan(decay, update, initial)
    assert_near([torch.cat([first, rest], dim=1).cpu()], [whole.cpu()], relative=1e-6)


def test_decay_one_without_update_keeps_the_bits_and_decay_zero_replaces_them(draw):
    decay, update, initial = draw(2, 40, 3)
    kept = linear_scan(torch.ones_like(decay), torch.zeros_like(update), initial)
    assert torch.equal(kept, initial.unsqueeze(1).expand(-1, 40, -1))
    assert torch.equal(linear_scan(torch.zeros_like(decay), update, initial), update)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("start", [3, 17, 39])
def test_what_is_not_finite_ends_at_a_decay_of_zero_and_not_before(draw, bad, start):
    decay, update, initial = draw(1, 100, 2)
    decay.fill_(1e-3)  # over a few chunks the product of these is 0 in float32
    update[:, start, 0] = bad
    decay[:, 70, 0] = 0
    states = linear_scan(decay, update, initial).cpu()
    finite = states.isfinite()
    assert finite[:, :, 1].all()
    assert finite[0, :start, 0].all()
    assert not finite[0, start:70, 0].any()
    assert finite[0, 70:, 0].all()
    wanted = linear_scan(*(v.double().cpu() for v in (decay, update, initial)))
    assert torch.equal(finite, wanted.isfinite())


def test_nan_stays_in_its_sequence(draw):
    values = draw(3, 20, 2)
    clean = found(values)
    for v in values:
        v[1] = float("nan")
    for got, wanted in zip(found(values), clean, strict=True):
        assert torch.equal(got[::2], wanted[::2])


def test_the_same_bits_twice_and_alone_as_in_a_batch(draw):
    values = draw(4, 50, 6)
    first, second = found(values), found(values)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    alone = linear_scan(*(v[1:2] for v in values))
    assert torch.equal(alone.cpu(), first[0][1:2])


def test_inputs_are_never_changed(draw):
    values = draw(2, 20, 2)
    before = [v.clone() for v in values]
    with_gradients(linear_scan, values)
    linear_scan(*values).zero_()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


def test_second_derivatives_equal_those_of_the_reference(draw):
    def second(scan, values: list[Tensor]) -> list[Tensor]:
        leaves = [v.detach().requires_grad_() for v in values]
        grads = torch.autograd.grad(scan(*leaves).pow(3).sum(), leaves, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in grads), leaves))

    values = draw(2, 11, 2)
    for got, wanted in zip(
        second(linear_scan, values), second(reference, [v.double().cpu() for v in values])
    ):
        assert (got.cpu() - wanted).abs().max() <= 1e-5 * wanted.abs().max()


def test_vmap_equals_a_loop(draw):
    values = [torch.stack(v) for v in zip(*(draw(2, 9, 3, seed=seed) for seed in range(3)))]
    each = [linear_scan(*v) for v in zip(*values, strict=True)]
    assert torch.equal(vmap(linear_scan)(*values), torch.stack(each))


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_operator_keeps_the_rules_of_torch_library(draw, reverse):
    leaves = [v.requires_grad_() for v in draw(2, 9, 3)]
    torch.library.opcheck(torch.ops.ramgru.linear_scan, (*leaves, reverse))


def test_compiled_equals_eager(draw):
    torch.compiler.reset()
    compiled = torch.compile(linear_scan, fullgraph=True, backend="aot_eager")
    values = draw(2, 9, 3)
    for a, b in zip(
        with_gradients(compiled, values), with_gradients(linear_scan, values), strict=True
    ):
        assert torch.equal(a, b)
