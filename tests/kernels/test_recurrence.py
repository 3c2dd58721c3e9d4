"""The elementwise recurrences: every path against the equations."""

from __future__ import annotations

import re

import numpy as np
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
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jacrev, vmap

from ramgru import kernels
from ramgru.kernels import native, recurrence
from ramgru.kernels.recurrence import cpu, diagonal_gru, linear_scan, mingru, reference

every_path = pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE], indirect=True)
# The best native kernel and torch code.
both_paths = pytest.mark.parametrize(
    "path", [*native.supported()[:1], native.PORTABLE], indirect=True
)
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
CHANNELS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 130])
SIZES = st.tuples(st.integers(0, 3), st.integers(0, 9), CHANNELS)
SEEDS = st.integers(0, 2**20)


def scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    return torch.ops.ramgru.linear_scan(decay, update, initial, reverse)


def by_equation(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool = False) -> Tensor:
    if not reverse:
        return reference.linear_scan(decay, update, initial)
    return reference.linear_scan(decay.flip(1), update.flip(1), initial).flip(1)


@every_path
@settings(max_examples=60)
@given(SIZES, SEEDS, st.booleans(), st.booleans())
def test_equals_the_equation(path, sizes, seed, reverse, strided) -> None:
    values = inputs(*sizes, seed, strided=strided)
    found = with_gradients(lambda *v: scan(*v, reverse), values)
    assert found[0].is_contiguous()
    wanted = with_gradients(lambda *v: by_equation(*v, reverse), values)
    # Decays are at most 1, so no rounding error grows after its step.
    assert_near(found, wanted, absolute=1e-12)


@every_path
@both_ways
def test_a_long_sequence_equals_the_equation(path, reverse: bool) -> None:
    values = inputs(2, 3000, 5)
    found = with_gradients(lambda *v: scan(*v, reverse), values)
    wanted = with_gradients(lambda *v: by_equation(*v, reverse), values)
    assert_near(found, wanted, absolute=1e-13)


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_low_precision_is_computed_wide(path, dtype: torch.dtype) -> None:
    values = inputs(2, 400, 4, dtype=dtype)
    found = with_gradients(linear_scan, values)
    exact = with_gradients(by_equation, [v.double() for v in values])
    assert {v.dtype for v in found} == {dtype}
    rounding = max(torch.finfo(dtype).eps, 2.5e-6)
    assert_near(found[:1] * 4, exact[:1] * 4, relative=rounding)
    # The gradient of the decay is a product of two rounded values.
    assert_near(found, exact, relative=4 * rounding)


@every_path
@both_ways
@pytest.mark.parametrize("update", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_the_update_decides(path, reverse: bool, update: torch.dtype) -> None:
    wide = torch.float64 if update == torch.float64 else torch.float32
    for others in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        a, u, h = inputs(2, 20, 6)
        a, u, h = a.to(others), u.to(update), h.to(others)
        found = scan(a, u, h, reverse)
        wanted = scan(a.to(wide), u.to(wide), h.to(wide), reverse)
        assert (found.dtype, wanted.dtype) == (update, wide)
        assert torch.equal(found, wanted.to(update))


def test_the_equation_equals_numpy() -> None:
    values = inputs(2, 7, 3)
    decay, update, h = (v.numpy() for v in values)
    states = reference.linear_scan(*values).numpy()
    for t in range(7):
        h = decay[:, t] * h + update[:, t]
        np.testing.assert_array_equal(states[:, t], h)


@both_paths
def test_constant_decay_is_a_geometric_series(path) -> None:
    decay = torch.full((1, 20, 1), 0.75, dtype=torch.float64)
    update = torch.full((1, 20, 1), 0.25, dtype=torch.float64)
    states = linear_scan(decay, update, torch.zeros(1, 1, dtype=torch.float64))
    n = torch.arange(1, 21, dtype=torch.float64)
    torch.testing.assert_close(states[0, :, 0], 1 - 0.75**n, rtol=0, atol=1e-15)


@both_paths
@settings(max_examples=50)
@given(SIZES, SEEDS, st.data())
def test_pieces_equal_the_whole(path, sizes, seed, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, sizes[1]), label="cut")
    values = inputs(*sizes, seed)

    def in_pieces(decay: Tensor, update: Tensor, initial: Tensor) -> Tensor:
        first = linear_scan(decay[:, :cut], update[:, :cut], initial)
        state = first[:, -1] if cut else initial
        return torch.cat([first, linear_scan(decay[:, cut:], update[:, cut:], state)], dim=1)

    whole = with_gradients(linear_scan, values)
    assert_near(with_gradients(in_pieces, values), whole, absolute=1e-10)


@every_path
@both_ways
def test_the_bits_of_a_channel_depend_on_no_other_and_on_no_piece(path, reverse: bool) -> None:
    decay, update, initial = inputs(2, 12, 71)
    whole = scan(decay, update, initial, reverse)
    for i in (0, 1, 40, 64, 70):
        one = slice(i, i + 1)
        alone = scan(decay[..., one], update[..., one], initial[:, one], reverse)
        assert torch.equal(alone, whole[..., one])
    h = initial
    for t in reversed(range(12)) if reverse else range(12):
        step = slice(t, t + 1)
        h = scan(decay[:, step], update[:, step], h, reverse)[:, 0]
        assert torch.equal(h, whole[:, t])


@both_paths
def test_decay_one_without_update_keeps_the_bits_and_decay_zero_replaces_them(path) -> None:
    decay, update, initial = inputs(2, 5, 3)
    kept = linear_scan(torch.ones_like(decay), torch.zeros_like(update), initial)
    assert torch.equal(kept, initial.unsqueeze(1).expand(-1, 5, -1))
    assert torch.equal(linear_scan(torch.zeros_like(decay), update, initial), update)


@every_path
@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_a_decay_of_zero_drops_states_that_are_not_finite(path, reverse: bool, dtype) -> None:
    before = slice(5, None) if reverse else slice(None, 4)
    after = slice(None, 5) if reverse else slice(4, None)
    for zero in (0.0, -0.0):
        for lost in (float("nan"), float("inf"), -float("inf")):
            decay, update, initial = inputs(2, 9, 21, dtype=dtype)
            decay[:, 4] = 0
            wanted = scan(decay, update, initial, reverse)
            spoilt = update.clone()
            spoilt[:, before] = lost
            decay[:, 4] = zero
            found = scan(decay, spoilt, torch.full_like(initial, lost), reverse)
            assert torch.equal(found[:, after], wanted[:, after])
            assert not found[:, before].isfinite().any()


@both_paths
def test_nan_stays_in_its_sequence(path) -> None:
    values = inputs(3, 6, 2)
    clean = with_gradients(linear_scan, values)
    for v in values:
        v[1] = float("nan")
    for found, wanted in zip(with_gradients(linear_scan, values), clean, strict=True):
        assert torch.equal(found[::2], wanted[::2])


@every_path
@pytest.mark.parametrize("sizes", [(7, 30, 4), (1, 30, 200), (5, 30, 130)], ids=str)
def test_threads_change_no_bit_and_no_input_is_changed(path, sizes: tuple[int, int, int]) -> None:
    values, before, found = inputs(*sizes), torch.get_num_threads(), []
    copies = [v.clone() for v in values]
    try:
        for threads in (1, 2, 3, 5, 1):
            torch.set_num_threads(threads)
            found.append(with_gradients(linear_scan, values))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    linear_scan(*values).zero_()
    assert all(map(torch.equal, values, copies))


@every_path
def test_any_layout_in_memory(path) -> None:
    a, u, h = inputs(3, 11, 8)
    laid_out = (
        torch._neg_view(-a),  # the numbers in memory have the other sign
        torch.stack([u, u], dim=-1)[..., 1],
        h[0].expand(3, 8),
    )
    assert torch.equal(scan(*laid_out, False), scan(a, u, h[0].repeat(3, 1), False))


@every_path
@both_ways
def test_first_and_second_derivatives_equal_finite_differences(path, reverse: bool) -> None:
    leaves = [v.requires_grad_() for v in inputs(2, 4, 3)]
    assert gradcheck(lambda *v: scan(*v, reverse), leaves)
    assert gradgradcheck(lambda *v: scan(*v, reverse), leaves)


@both_paths
def test_third_derivatives_equal_those_of_the_equation(path) -> None:
    def third(run) -> list[Tensor]:
        leaves = [v.requires_grad_() for v in inputs(2, 5, 3)]
        value = run(*leaves).pow(4).sum()
        for _ in range(3):
            grads = torch.autograd.grad(value, leaves, create_graph=True)
            value = sum(g.square().sum() for g in grads)
        return [value]

    torch.testing.assert_close(third(linear_scan), third(by_equation), rtol=1e-10, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    decay, update, initial = inputs(2, 5, 3)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        linear_scan(forward_ad.make_dual(decay, decay), update, initial)


@both_paths
@both_ways
def test_operator_keeps_the_rules_of_torch_library(path, reverse: bool) -> None:
    leaves = [v.requires_grad_() for v in inputs(2, 5, 3)]
    torch.library.opcheck(torch.ops.ramgru.linear_scan, (*leaves, reverse))


@both_paths
def test_vmap_equals_a_loop(path) -> None:
    values = [torch.stack(v) for v in zip(*(inputs(2, 5, 3, seed) for seed in range(3)))]
    each = list(zip(*values, strict=True))

    def loss(*v: Tensor) -> Tensor:
        return linear_scan(*v).pow(3).sum()

    found = vmap(linear_scan)(*values)
    assert torch.equal(found, torch.stack([linear_scan(*v) for v in each]))
    shared = vmap(linear_scan, (0, None, 0))(values[0], values[1][0], values[2])
    wanted = [linear_scan(a, values[1][0], h) for a, h in zip(values[0], values[2], strict=True)]
    assert torch.equal(shared, torch.stack(wanted))
    gradient = grad(loss, (0, 1, 2))
    for a, *b in zip(vmap(gradient)(*values), *(gradient(*v) for v in each), strict=True):
        assert torch.equal(a, torch.stack(b))


@both_paths
def test_jacrev_equals_autograd_and_compiled_equals_eager(path) -> None:
    values = tuple(inputs(2, 4, 2))
    found = jacrev(linear_scan, (0, 1, 2))(*values)
    wanted = torch.autograd.functional.jacobian(linear_scan, values)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)
    torch.compiler.reset()
    compiled = torch.compile(linear_scan, fullgraph=True, backend="aot_eager")
    eager = with_gradients(linear_scan, values)
    assert all(map(torch.equal, with_gradients(compiled, values), eager))


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (
            ((2, 5), (2, 5), (2, 5)),
            "decay, update: expected one shape (B, T, H), got (2, 5) and (2, 5)",
        ),
        (
            ((2, 5, 3), (2, 4, 3), (2, 3)),
            "decay, update: expected one shape (B, T, H), got (2, 5, 3) and (2, 4, 3)",
        ),
        (((2, 5, 3), (2, 5, 3), (2, 5)), "initial: expected shape (2, 3), got (2, 5)"),
    ],
    ids=["dimensions", "steps", "initial"],
)
def test_errors_name_the_argument(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        linear_scan(*(torch.zeros(shape) for shape in shapes))


def test_the_native_kernel_runs_and_info_says_so(monkeypatch) -> None:
    ran, kernel = [], cpu.linear_scan
    monkeypatch.setattr(cpu, "linear_scan", lambda *args: ran.append(args[3]) or kernel(*args))
    for isa in native.supported():
        with native.use(isa):
            with_gradients(linear_scan, inputs(2, 4, 3))
            assert f"native {isa}" in kernels.info()["linear_scan"]
        assert ran == [False, True]  # the backward of one way is the other
        ran.clear()
    with native.use(native.PORTABLE):
        linear_scan(*inputs(2, 4, 3))
    assert ran == []


# minGRU


def evaluate(run, values: list[Tensor | None]) -> list[Tensor]:
    """States, the last state, and the gradients of the projected input and of the start."""
    x, h = (v.detach().requires_grad_() for v in values[:2])
    states, last = run(x, h, *values[2:])
    value = (states * states.detach().cos()).sum() + last.sin().sum()
    return [states.detach(), last.detach(), *torch.autograd.grad(value, [x, h])]


@every_path
@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
def test_mingru_equals_the_equation(path, resets: bool, lengths: bool) -> None:
    for T, H in ((1, 1), (5, 7), (9, 64), (20, 65), (3, 130)):
        values = mingru_inputs(3, T, H, resets, lengths)
        found, wanted = evaluate(mingru, values), evaluate(reference.mingru, values)
        for a, b in zip(found, wanted, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-12)
        single = evaluate(
            mingru, [v.float() if v is not None and v.is_floating_point() else v for v in values]
        )
        for a, b in zip(single, wanted, strict=True):
            torch.testing.assert_close(a.double(), b, rtol=1e-5, atol=1e-5)


@both_paths
def test_mingru_derivatives_equal_finite_differences(path) -> None:
    x, h, *ragged = mingru_inputs(3, 4, 2, True, True)
    leaves = [x.requires_grad_(), h.requires_grad_()]
    assert gradcheck(lambda x, h: mingru(x, h, *ragged), leaves)
    assert gradgradcheck(lambda x, h: mingru(x, h, *ragged), leaves)


# GRU with diagonal recurrent weights


@every_path
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
@pytest.mark.parametrize("resets", [False, True], ids=["", "resets"])
@pytest.mark.parametrize("lengths", [False, True], ids=["", "lengths"])
def test_diagonal_equals_the_equation(path, bias: bool, resets: bool, lengths: bool) -> None:
    for T, H in ((1, 1), (5, 7), (9, 64), (20, 65), (3, 130), (64, 2), (65, 2), (150, 3)):
        values = diagonal_inputs(3, T, H, bias, resets, lengths)
        wanted = diagonal_results(reference.diagonal_gru, values)
        assert_near(diagonal_results(diagonal_gru, values), wanted, absolute=1e-12, relative=1e-12)
        single = [v.float() if v is not None and v.is_floating_point() else v for v in values]
        wanted = diagonal_results(reference.diagonal_gru, in_double(single))
        assert_near(diagonal_results(diagonal_gru, single), wanted, relative=1e-5)


@both_paths
def test_diagonal_is_nn_gru_with_diagonal_matrices(path) -> None:
    B, T, C, H = 3, 11, 4, 5
    gru = torch.nn.GRU(C, H, batch_first=True, dtype=torch.float64)
    weight, bias = torch.randn(3 * H, dtype=torch.float64), gru.bias_hh_l0.detach()
    with torch.no_grad():
        gru.weight_hh_l0.copy_(torch.cat([u.diag() for u in weight.chunk(3)]))
    x, h = torch.randn(B, T, C, dtype=torch.float64), torch.randn(B, H, dtype=torch.float64)
    projected = torch.nn.functional.linear(x, gru.weight_ih_l0, gru.bias_ih_l0)
    leaves = [v.detach().requires_grad_() for v in (projected, h, weight, bias)]
    states, last = diagonal_gru(*leaves)
    start = h.clone().requires_grad_()
    wanted, h_n = gru(x, start.unsqueeze(0))
    torch.testing.assert_close(states, wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(last, h_n[0], rtol=0, atol=1e-14)
    (states.sin().sum() + last.cos().sum()).backward()
    (wanted.sin().sum() + h_n.cos().sum()).backward()
    dense = torch.cat([u.diag() for u in gru.weight_hh_l0.grad.chunk(3)])
    found = [leaf.grad for leaf in leaves[1:]]
    for a, b in zip(found, [start.grad, dense, gru.bias_hh_l0.grad], strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@both_paths
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
def test_diagonal_derivatives_equal_finite_differences(path, bias: bool) -> None:
    *given, reset, lengths = diagonal_inputs(3, 4, 2, bias)
    leaves = [v.requires_grad_() for v in given if v is not None]

    def run(x: Tensor, h: Tensor, u: Tensor, c: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return diagonal_gru(x, h, u, c, reset, lengths)

    assert gradcheck(run, leaves)
    assert gradgradcheck(run, leaves)


@both_paths
@pytest.mark.parametrize("use", ["states", "last"])
def test_diagonal_gradients_of_one_result_alone(path, use: str) -> None:
    values = diagonal_inputs(3, 9, 5)
    wanted = diagonal_results(reference.diagonal_gru, values, use)
    assert_near(diagonal_results(diagonal_gru, values, use), wanted, absolute=1e-12)


@both_paths
def test_diagonal_in_low_precision_is_computed_wide(path) -> None:
    values = [
        v.bfloat16() if v is not None and v.is_floating_point() else v
        for v in diagonal_inputs(3, 80, 5)
    ]
    found = diagonal_results(diagonal_gru, values)
    assert {v.dtype for v in found} == {torch.bfloat16}
    wanted = diagonal_results(reference.diagonal_gru, in_double(values))
    # Portable backward reads the states, which are rounded.
    assert_near(found[:2] * 4, wanted[:2] * 4, relative=torch.finfo(torch.bfloat16).eps)
    assert_near(found, wanted, relative=0.03)
    values[1:4] = [v.float() for v in values[1:4]]  # as under autocast: the input alone is narrow
    found = diagonal_results(diagonal_gru, values)
    assert [v.dtype == torch.bfloat16 for v in found] == [False, False, True, False, False, False]
    wanted = diagonal_results(reference.diagonal_gru, in_double(values))
    assert_near(found[:2] + found[3:], wanted[:2] + wanted[3:], relative=1e-5)


@pytest.mark.parametrize("path", native.supported(), indirect=True)
def test_diagonal_bits_do_not_depend_on_threads_pieces_or_the_rest_of_the_batch(path) -> None:
    values, before, found = diagonal_inputs(5, 70, 130), torch.get_num_threads(), []
    copies = [None if v is None else v.clone() for v in values]
    try:
        for threads in (1, 2, 3, 1):
            torch.set_num_threads(threads)
            found.append(diagonal_results(diagonal_gru, values))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))
    assert all(map(torch.equal, values, copies))
    x, h, u, c, reset, _ = values
    states, last = diagonal_gru(x, h, u, c, reset)
    first, middle = diagonal_gru(x[:, :33], h, u, c, reset[:, :33])
    rest, end = diagonal_gru(x[:, 33:], middle, u, c, reset[:, 33:])
    assert torch.equal(torch.cat([first, rest], dim=1), states)
    assert torch.equal(end, last)
    alone, _ = diagonal_gru(x[1:2], h[1:2], u, c, reset[1:2])
    assert torch.equal(alone, states[1:2])


@both_paths
def test_diagonal_padding_keeps_the_state_and_a_reset_drops_one_that_is_not_finite(path) -> None:
    x, h, u, c, *_ = diagonal_inputs(2, 9, 5)
    states, last = diagonal_gru(x, h, u, c, None, torch.tensor([7, 0]))
    assert torch.equal(last, torch.stack([states[0, 6], h[1]]))
    assert not states[0, 7:].any()
    assert not states[1].any()
    reset = torch.zeros(2, 9, dtype=torch.bool)
    reset[1, 5] = True
    x[1, 3] = float("nan")
    leaves = [v.requires_grad_() for v in (x, h)]
    states, last = diagonal_gru(*leaves, u, c, reset)
    assert states[0].isfinite().all()
    assert not states[1, 3:5].isfinite().any()
    assert states[1, 5:].isfinite().all()
    grad_x, grad_h = torch.autograd.grad(last.sum(), leaves)
    assert grad_x[0].isfinite().all()
    assert grad_x[1, 5:].isfinite().all()


@both_paths
def test_diagonal_operator_keeps_the_rules_of_torch_library(path) -> None:
    *given, reset, lengths = diagonal_inputs(2, 5, 3)
    leaves = [v.requires_grad_() for v in given]
    torch.library.opcheck(torch.ops.ramgru.diagonal_gru, (*leaves, reset, lengths))
    torch.library.opcheck(torch.ops.ramgru.diagonal_gru, (*leaves[:3], None, None, None))


@both_paths
def test_diagonal_is_one_node_of_a_compiled_graph(path) -> None:
    graphs = []

    def keep(graph, _):
        graphs.append(graph)
        return graph

    *given, reset, lengths = diagonal_inputs(3, 30, 5)
    torch.compiler.reset()
    compiled = torch.compile(diagonal_gru, fullgraph=True, backend=keep)
    torch.testing.assert_close(
        compiled(*given, reset, lengths), diagonal_gru(*given, reset, lengths), rtol=0, atol=0
    )
    assert sum(node.op == "call_function" for node in graphs[0].graph.nodes) <= 3
    values = [*given, reset, lengths]
    compiled = torch.compile(diagonal_gru, fullgraph=True, backend="aot_eager")
    wanted = diagonal_results(diagonal_gru, values)
    assert_near(diagonal_results(compiled, values), wanted, absolute=1e-12)


@both_paths
@pytest.mark.parametrize("own", [False, True], ids=["one model", "models of their own"])
def test_diagonal_vmap_equals_a_loop(path, own: bool) -> None:
    x, h, u, c, reset, lengths = diagonal_inputs(6, 5, 3)
    x, h, reset, lengths = (v.unflatten(0, (2, 3)) for v in (x, h, reset, lengths))
    u, c = (torch.stack([v, -v]) for v in (u, c)) if own else (u, c)
    dims = (0, 0, *((0, 0) if own else (None, None)), 0, 0)

    def loss(*values: Tensor) -> Tensor:
        states, last = diagonal_gru(*values)
        return states.pow(3).sum() + last.sum()

    def alone(b: int) -> list[Tensor]:
        return [v if d is None else v[b] for v, d in zip((x, h, u, c, reset, lengths), dims)]

    found = vmap(diagonal_gru, dims)(x, h, u, c, reset, lengths)
    for a, b in zip(found, zip(*(diagonal_gru(*alone(b)) for b in range(2)))):
        assert torch.equal(a, torch.stack(b))
    gradient = grad(loss, (0, 1, 2, 3))
    found = vmap(gradient, dims)(x, h, u, c, reset, lengths)
    for a, b in zip(found, zip(*(gradient(*alone(b)) for b in range(2))), strict=True):
        torch.testing.assert_close(a, torch.stack(b), rtol=0, atol=1e-12)


def test_the_native_diagonal_kernels_run(monkeypatch) -> None:
    ran = []
    for name in ("forward", "backward"):
        kernel = getattr(cpu, f"diagonal_gru_{name}")
        monkeypatch.setattr(
            recurrence._diagonal_gru,
            name,
            lambda *a, name=name, kernel=kernel: ran.append(name) or kernel(*a),
        )
    for isa in native.supported():
        with native.use(isa):
            diagonal_results(diagonal_gru, diagonal_inputs(2, 4, 3))
        assert ran == ["forward", "backward"]
        ran.clear()
