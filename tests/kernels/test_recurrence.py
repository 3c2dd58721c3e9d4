"""`linear_scan` and `mingru`: every path against the equations, in both directions of time."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import assert_near, inputs, mingru_inputs, with_gradients
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jacrev, vmap

from ramgru import kernels
from ramgru.kernels import native
from ramgru.kernels.recurrence import cpu, linear_scan, mingru, reference

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
