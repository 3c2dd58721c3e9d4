"""The elementwise recurrences by Triton kernels: on a GPU, or through Triton's interpreter."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import (
    assert_near,
    diagonal_inputs,
    diagonal_results,
    in_double,
    inputs,
    mingru_inputs,
    with_gradients,
)
from torch import Tensor

from ramgru import RAMGRU, Memory
from ramgru.kernels import gpu, native
from ramgru.kernels.recurrence import diagonal_gru, linear_scan, mingru, reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning"),  # numpy's
]


@pytest.fixture(scope="module", autouse=True)
def kernel(gpu_device):
    """The module of the kernels, which only imports if triton is installed."""
    from ramgru.kernels.recurrence import triton

    with native.use(native.PORTABLE):  # no native kernel takes its place
        yield triton


@pytest.fixture
def small(kernel, monkeypatch):
    """Chunks of 4 steps, so that few steps make three levels of summaries."""
    monkeypatch.setattr(kernel, "CHUNK", 4)


@pytest.fixture
def draw(gpu_device):
    def drawn(*args, dtype=torch.float32, **options) -> list[Tensor]:
        return [v.to(gpu_device) for v in inputs(*args, dtype=dtype, **options)]

    return drawn


def exact(values: list[Tensor]) -> list[Tensor]:
    """States and gradients by the equation, in float64 on the CPU."""
    return with_gradients(reference.linear_scan, [v.double().cpu() for v in values])


def found(values: list[Tensor]) -> list[Tensor]:
    return [v.cpu() for v in with_gradients(linear_scan, values)]


def test_the_kernel_is_what_runs(kernel, draw, monkeypatch):
    calls, real = [], kernel.linear_scan
    monkeypatch.setattr(kernel, "linear_scan", lambda *args: calls.append(args[3]) or real(*args))
    with_gradients(linear_scan, draw(2, 3, 4))
    assert calls == [False, True]
    with gpu.use(gpu.OFF):
        with_gradients(linear_scan, draw(2, 3, 4))
    with_gradients(linear_scan, draw(2, 3, 4, dtype=torch.float64))
    assert calls == [False, True]


@pytest.mark.parametrize("strided", [False, True])
def test_equals_the_equation(small, draw, strided):
    @settings(max_examples=12)
    @given(
        st.tuples(st.integers(0, 3), st.integers(0, 24), st.integers(1, 5)), st.integers(0, 2**20)
    )
    def run(sizes: tuple[int, int, int], seed: int) -> None:
        values = draw(*sizes, seed=seed, strided=strided)
        assert_near(found(values), exact(values), relative=1e-5)

    run()


@pytest.mark.parametrize(("T", "H"), [(1, 3), (7, 3), (8, 3), (9, 129), (13, 128), (65, 3)])
def test_at_the_edges_of_chunks_levels_and_tiles(small, draw, T, H):
    values = draw(2, T, H)
    assert_near(found(values), exact(values), relative=1e-5)


@pytest.mark.parametrize("T", [128, 129, 200])
def test_with_chunks_of_the_usual_length(draw, T):
    values = draw(1, T, 2)
    assert_near(found(values), exact(values), relative=1e-5)


def test_a_million_steps(draw, gpu_device):
    if gpu_device == "cpu":
        pytest.skip("needs a GPU: the interpreter would take an hour")
    values = draw(1, 2**20, 64)
    wanted = linear_scan(*(v.double().cpu() for v in values))
    assert_near([linear_scan(*values).cpu()], [wanted], relative=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_states_are_computed_wide(small, draw, dtype):
    values = draw(2, 40, 3, dtype=dtype)
    got, wanted = found(values), exact(values)
    assert {v.dtype for v in got} == {dtype}
    rounding = torch.finfo(dtype).eps
    assert_near(got[:1] * 4, wanted[:1] * 4, relative=rounding)
    assert_near(got, wanted, relative=4 * rounding)


def test_each_input_may_have_its_own_type(small, draw):
    decay, update, initial = draw(2, 9, 3)
    values = [decay, update.bfloat16(), initial.half()]
    got = linear_scan(*values)
    assert got.dtype == torch.bfloat16
    wanted = reference.linear_scan(*(v.double().cpu() for v in values))
    assert_near([got.cpu()], [wanted], relative=torch.finfo(torch.bfloat16).eps)


def test_pieces_equal_the_whole(small, draw):
    decay, update, initial = draw(2, 40, 3)
    first = linear_scan(decay[:, :21], update[:, :21], initial)
    rest = linear_scan(decay[:, 21:], update[:, 21:], first[:, -1])
    whole = linear_scan(decay, update, initial)
    assert_near([torch.cat([first, rest], dim=1).cpu()], [whole.cpu()], relative=1e-6)


def test_decay_one_without_update_keeps_the_bits_and_decay_zero_replaces_them(small, draw):
    decay, update, initial = draw(2, 40, 3)
    kept = linear_scan(torch.ones_like(decay), torch.zeros_like(update), initial)
    assert torch.equal(kept, initial.unsqueeze(1).expand(-1, 40, -1))
    assert torch.equal(linear_scan(torch.zeros_like(decay), update, initial), update)


@pytest.mark.parametrize(("bad", "start"), [(math.nan, 3), (math.inf, 17), (math.nan, 39)])
def test_numbers_that_are_not_finite_end_at_a_decay_of_zero(small, draw, bad, start):
    decay, update, initial = draw(1, 100, 2)
    decay.fill_(1e-3)  # the product over a few chunks is 0 in float32
    update[:, start, 0] = bad
    decay[:, 70, 0] = 0
    states = linear_scan(decay, update, initial).cpu()
    finite = states.isfinite()
    assert finite[:, :, 1].all()
    assert finite[0, :start, 0].all()
    assert not finite[0, start:70, 0].any()
    assert finite[0, 70:, 0].all()


def test_bits_are_the_same_twice_alone_and_beside_nan_and_inputs_stay(small, draw):
    values = draw(4, 21, 3)
    before = [v.clone() for v in values]
    first, second = found(values), found(values)
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, values, before))
    alone = linear_scan(*(v[1:2] for v in values))
    assert torch.equal(alone.cpu(), first[0][1:2])
    for v in values:
        v[1] = float("nan")
    for got, wanted in zip(found(values), first, strict=True):
        assert torch.equal(got[::2], wanted[::2])


def test_second_derivatives_equal_those_of_the_equation(small, draw):
    def second(scan, values: list[Tensor]) -> list[Tensor]:
        leaves = [v.detach().requires_grad_() for v in values]
        grads = torch.autograd.grad(scan(*leaves).pow(3).sum(), leaves, create_graph=True)
        return list(torch.autograd.grad(sum(g.square().sum() for g in grads), leaves))

    values = draw(2, 11, 2)
    wide = [v.double().cpu() for v in values]
    for got, wanted in zip(second(linear_scan, values), second(reference.linear_scan, wide)):
        assert (got.cpu() - wanted).abs().max() <= 1e-5 * wanted.abs().max()


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_operator_keeps_the_rules_of_torch_library(small, draw, reverse):
    leaves = [v.requires_grad_() for v in draw(2, 9, 3)]
    torch.library.opcheck(torch.ops.ramgru.linear_scan, (*leaves, reverse))


# minGRU


@pytest.fixture
def gates(small, gpu_device):
    def drawn(B=3, T=21, H=5, resets=True, lengths=True) -> list[Tensor | None]:
        values = mingru_inputs(B, T, H, resets, lengths, torch.float32)
        return [v if v is None else v.to(gpu_device) for v in values]

    return drawn


def evaluate(run, values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    """States, the last state, and the gradients of the projected input and of the start."""
    x, h = (v.detach().requires_grad_() for v in values[:2])
    results = run(x, h, *values[2:])
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(r.shape, generator=g).to(r) for r in results]
    chosen = {"both": slice(2), "states": slice(1), "last": slice(1, 2)}[use]
    grads = torch.autograd.grad(results[chosen], [x, h], above[chosen])
    return [v.detach().cpu() for v in (*results, *grads)]


def exact_gates(values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    wide = [v.double() if v is not None and v.is_floating_point() else v for v in values]
    return evaluate(reference.mingru, wide, use)


def test_the_kernel_is_what_runs_for_mingru(kernel, gates, monkeypatch):
    calls = []
    for name in ("forward", "backward"):
        real = getattr(kernel, name)
        monkeypatch.setattr(
            kernel, name, lambda *a, name=name, real=real: calls.append(name) or real(*a)
        )
    evaluate(mingru, gates())
    assert calls == ["forward", "backward"]
    with gpu.use(gpu.OFF):
        evaluate(mingru, gates())
    assert calls == ["forward", "backward"]


@pytest.mark.parametrize(
    ("T", "H", "resets", "lengths"),
    [
        (1, 5, True, True),
        (7, 3, False, False),
        (8, 3, True, False),
        (9, 129, True, True),
        (9, 3, False, True),
        (33, 2, True, True),
    ],
)
def test_mingru_at_the_edges_of_chunks_and_tiles(gates, T, H, resets, lengths):
    values = gates(T=T, H=H, resets=resets, lengths=lengths)
    assert_near(evaluate(mingru, values), exact_gates(values), relative=1e-5)


@pytest.mark.parametrize("use", ["states", "last"])
def test_gradients_of_one_result_alone(gates, use):
    values = gates()
    assert_near(evaluate(mingru, values, use), exact_gates(values, use), relative=1e-5)


def test_a_sum_of_the_states_has_an_expanded_gradient(gates):
    values = gates()
    grads = []
    for run in (mingru, reference.mingru):
        x = values[0].detach().requires_grad_()
        run(x, *values[1:])[0].sum().backward()
        grads.append(x.grad)
    torch.testing.assert_close(*grads, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_a_projected_input_in_half_precision_is_computed_wide(gates, dtype):
    values = gates()
    values[0] = values[0].to(dtype)
    got, wanted = evaluate(mingru, values), exact_gates(values)
    assert [v.dtype for v in got] == [torch.float32, torch.float32, dtype, torch.float32]
    assert_near(got[:2] + got[3:], wanted[:2] + wanted[3:], relative=1e-5)
    assert_near(got[2:3], wanted[2:3], relative=torch.finfo(dtype).eps)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_numbers_that_are_not_finite_stay_in_their_sequence_and_end_at_a_reset(gates, bad):
    values = gates(lengths=False)
    clean = evaluate(mingru, values)
    values[2][:, 9] = True
    values[2][1, :9] = False
    values[0][1, 3, 5:] = bad  # the candidate of step 3
    states, last, grad_x, _ = evaluate(mingru, values)
    finite = states.isfinite()
    assert finite[::2].all()
    assert finite[1, :3].all()
    assert not finite[1, 3:9].any()
    assert finite[1, 9:].all()
    assert last.isfinite().all()
    assert grad_x[::2].isfinite().all()
    assert grad_x[1, 9:].isfinite().all()
    assert torch.equal(states[2, :9], clean[0][2, :9])


def test_padding_keeps_the_bits_of_the_state(gates, gpu_device):
    x, h, _, _ = gates(B=2, resets=False)
    states, last = mingru(x, h, None, torch.tensor([7, 0], device=gpu_device))
    assert torch.equal(last, torch.stack([states[0, 6], h[1]]))
    assert not states[0, 7:].any()
    assert not states[1].any()


def test_mingru_gives_the_same_bits_twice_and_never_changes_its_inputs(gates):
    values = gates()
    before = [v.clone() for v in values]
    first, second = evaluate(mingru, values), evaluate(mingru, values)
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, values, before))


def test_second_derivatives_of_mingru_equal_those_of_the_equation(gates):
    def second(run, values):
        x, h = (v.detach().requires_grad_() for v in values[:2])
        states, last = run(x, h, *values[2:])
        value = states.pow(3).sum() + last.square().sum()
        grads = torch.autograd.grad(value, [x, h], create_graph=True)
        return [v.cpu() for v in torch.autograd.grad(sum(g.square().sum() for g in grads), [x, h])]

    values = gates(T=9)
    wide = [v.double() if v.is_floating_point() else v for v in values]
    assert_near(second(mingru, values), second(reference.mingru, wide), relative=1e-5)


# GRU with diagonal recurrent weights


@pytest.fixture
def diagonal(gpu_device, monkeypatch):
    """Sums over blocks of 4 steps, tiles of 4 units."""
    from ramgru.kernels.recurrence import triton_diagonal

    monkeypatch.setattr(triton_diagonal, "BLOCK", 4)
    monkeypatch.setattr(triton_diagonal, "TILE", 4)

    def drawn(B=3, T=9, H=5, bias=True, resets=True, lengths=True) -> list[Tensor | None]:
        values = diagonal_inputs(B, T, H, bias, resets, lengths, torch.float32)
        return [v if v is None else v.to(gpu_device) for v in values]

    return drawn


def exact_diagonal(values: list[Tensor | None], use: str = "both") -> list[Tensor]:
    wide = [v if v is None else v.cpu() for v in in_double(values)]
    return diagonal_results(reference.diagonal_gru, wide, use)


def test_the_kernel_is_what_runs_for_the_diagonal_gru(diagonal, monkeypatch):
    from ramgru.kernels.recurrence import triton_diagonal

    calls = []
    for name in ("forward", "backward"):
        real = getattr(triton_diagonal, name)
        monkeypatch.setattr(
            triton_diagonal, name, lambda *a, name=name, real=real: calls.append(name) or real(*a)
        )
    diagonal_results(diagonal_gru, diagonal())
    assert calls == ["forward", "backward"]
    x, h, u, c, *_ = diagonal()
    torch.ops.ramgru.diagonal_gru(x, h, u, c, None, None)
    assert calls == ["forward", "backward", "forward"]
    with gpu.use(gpu.OFF):
        diagonal_results(diagonal_gru, diagonal())
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("T", "H", "bias", "resets", "lengths"),
    [
        (1, 5, True, True, True),
        (7, 3, False, False, False),
        (8, 4, True, True, False),
        (9, 9, False, True, True),
        (13, 3, True, False, True),
    ],
)
def test_diagonal_at_the_edges_of_blocks_and_tiles(diagonal, T, H, bias, resets, lengths):
    values = diagonal(3, T, H, bias, resets, lengths)
    found = diagonal_results(diagonal_gru, values)
    assert_near(found, exact_diagonal(values), relative=1e-5)


@pytest.mark.parametrize("use", ["states", "last"])
def test_diagonal_gradients_of_one_result_alone(diagonal, use):
    values = diagonal()
    found = diagonal_results(diagonal_gru, values, use)
    assert_near(found, exact_diagonal(values, use), relative=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_diagonal_with_a_projected_input_in_half_precision_is_computed_wide(diagonal, dtype):
    values = diagonal()
    values[0] = values[0].to(dtype)
    got, wanted = diagonal_results(diagonal_gru, values), exact_diagonal(values)
    assert [v.dtype == dtype for v in got] == [False, False, True, False, False, False]
    assert_near(got[:2] + got[3:], wanted[:2] + wanted[3:], relative=1e-5)
    assert_near(got[2:3], wanted[2:3], relative=torch.finfo(dtype).eps)


def test_diagonal_gives_the_same_bits_twice_and_never_changes_its_inputs(diagonal):
    values = diagonal()
    before = [v.clone() for v in values]
    first, second = (diagonal_results(diagonal_gru, values) for _ in range(2))
    assert all(map(torch.equal, first, second))
    assert all(map(torch.equal, values, before))


@pytest.mark.parametrize(
    "options",
    [
        {"bidirectional": True, "memory": Memory(cells=16, heads="key")},
        {"checkpoint_every": 4, "memory": Memory(cells=16, heads="key tape")},
    ],
    ids=["both ways", "recomputed"],
)
@pytest.mark.parametrize("controller", ["mingru", "diagonal"])
def test_a_layer_equals_its_torch_code(small, gpu_device, controller, options):
    torch.manual_seed(0)
    layer = RAMGRU(3, 4, controller=controller, batch_first=True, **options).to(gpu_device)
    x = torch.randn(2, 7, 3, device=gpu_device, requires_grad=True)
    lengths = torch.tensor([7, 4], device=gpu_device)

    def run() -> list[Tensor]:
        output, h = layer(x, lengths=lengths)
        leaves = [x, *layer.parameters()]
        return [output, h, *torch.autograd.grad(output.square().sum() + h.sum(), leaves)]

    got = run()
    with gpu.use(gpu.OFF):
        wanted = run()
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
