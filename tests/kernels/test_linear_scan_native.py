"""`linear_scan` by the native kernel: on every instruction set, in both directions of time."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import assert_near, inputs, with_gradients
from torch import Tensor
from torch.autograd import gradcheck

from ramgru import kernels
from ramgru.kernels import native
from ramgru.kernels.recurrence import cpu
from ramgru.kernels.recurrence.reference import linear_scan as reference

every_isa = pytest.mark.parametrize("isa", native.supported())
both_ways = pytest.mark.parametrize("reverse", [False, True], ids=["forward", "reverse"])
CHANNELS = st.sampled_from([0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 63, 64, 65, 130])


def scan(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    return torch.ops.ramgru.linear_scan(decay, update, initial, reverse)


def by_equation(decay: Tensor, update: Tensor, initial: Tensor, reverse: bool) -> Tensor:
    if not reverse:
        return reference(decay, update, initial)
    return reference(decay.flip(1), update.flip(1), initial).flip(1)


def bar(states: Tensor, initial: Tensor) -> float:
    """How far two orders of rounding may be apart: an epsilon of the largest state a step.

    Decays are at most 1, so no error grows after its step.
    """
    if not states.numel():
        return 0.0
    largest = max(float(states.abs().max()), float(initial.abs().max()))
    return states.shape[1] * torch.finfo(torch.float64).eps * largest


@every_isa
@settings(max_examples=100)
@given(
    sizes=st.tuples(st.integers(0, 3), st.integers(0, 9), CHANNELS),
    seed=st.integers(0, 2**20),
    reverse=st.booleans(),
    strided=st.booleans(),
)
def test_equals_the_reference(
    isa: str, sizes: tuple[int, int, int], seed: int, reverse: bool, strided: bool
) -> None:
    values = inputs(*sizes, seed, strided=strided)
    with native.use(isa):
        found = scan(*values, reverse)
    wanted = by_equation(*values, reverse)
    assert found.is_contiguous()
    assert_near([found], [wanted], absolute=bar(wanted, values[2]))


@every_isa
@both_ways
def test_a_long_sequence_equals_the_reference(isa: str, reverse: bool) -> None:
    values = inputs(2, 3000, 5)
    with native.use(isa):
        found = with_gradients(lambda *v: scan(*v, reverse), values)
    wanted = with_gradients(lambda *v: by_equation(*v, reverse), values)
    assert_near(found, wanted, absolute=1e-13)


@both_ways
def test_every_set_equals_torch_code(reverse: bool) -> None:
    values = inputs(3, 40, 21)
    with native.use(native.PORTABLE):
        wanted = with_gradients(lambda *v: scan(*v, reverse), values)
    for isa in native.supported():
        with native.use(isa):
            found = with_gradients(lambda *v: scan(*v, reverse), values)
        assert_near(found, wanted, absolute=1e-14)


@every_isa
@both_ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("zero", [0.0, -0.0])
@pytest.mark.parametrize("lost", [float("nan"), float("inf"), -float("inf")])
def test_a_decay_of_zero_cuts_off_what_is_not_finite(
    isa: str, reverse: bool, dtype: torch.dtype, zero: float, lost: float
) -> None:
    decay, update, initial = inputs(2, 9, 21, dtype=dtype)
    clean = [decay.clone(), update, initial]
    clean[0][:, 4] = 0
    before = slice(5, None) if reverse else slice(None, 4)
    after = slice(None, 5) if reverse else slice(4, None)
    spoilt = update.clone()
    spoilt[:, before] = lost
    decay[:, 4] = zero
    with native.use(isa):
        wanted = scan(*clean, reverse)
        found = scan(decay, spoilt, torch.full_like(initial, lost), reverse)
    assert torch.equal(found[:, after], wanted[:, after])
    assert not found[:, before].isfinite().any()


@every_isa
@both_ways
def test_the_bits_of_a_channel_depend_on_no_other_and_on_no_piece(isa: str, reverse: bool) -> None:
    decay, update, initial = inputs(2, 12, 71)
    with native.use(isa):
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


@every_isa
@pytest.mark.parametrize("sizes", [(7, 30, 4), (1, 30, 200), (5, 30, 130)], ids=str)
def test_threads_change_no_bit(isa: str, sizes: tuple[int, int, int]) -> None:
    values, before, found = inputs(*sizes), torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                found.append(with_gradients(lambda *v: scan(*v, False), values))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@every_isa
@both_ways
@pytest.mark.parametrize("update", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("others", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_the_dtype_of_the_update_decides(
    isa: str, reverse: bool, update: torch.dtype, others: torch.dtype
) -> None:
    a, u, h = inputs(2, 20, 6)
    a, u, h = a.to(others), u.to(update), h.to(others)
    wide = torch.float64 if update == torch.float64 else torch.float32
    with native.use(isa):
        found = scan(a, u, h, reverse)
        wanted = scan(a.to(wide), u.to(wide), h.to(wide), reverse)
    assert (found.dtype, wanted.dtype) == (update, wide)
    assert torch.equal(found, wanted.to(update))


@every_isa
def test_any_layout_in_memory(isa: str) -> None:
    a, u, h = inputs(3, 11, 8)
    laid_out = (
        torch._neg_view(-a),  # the numbers in memory have the other sign
        torch.stack([u, u], dim=-1)[..., 1],
        h[0].expand(3, 8),
    )
    with native.use(isa):
        found = scan(*laid_out, False)
        wanted = scan(a, u, h[0].repeat(3, 1), False)
    assert torch.equal(found, wanted)


@every_isa
@both_ways
def test_derivatives_equal_finite_differences(isa: str, reverse: bool) -> None:
    leaves = [v.requires_grad_() for v in inputs(2, 4, 5)]
    with native.use(isa):
        assert gradcheck(lambda *v: scan(*v, reverse), leaves)


@every_isa
def test_the_native_kernel_runs_and_info_says_so(isa: str, monkeypatch) -> None:
    ran = []
    kernel = cpu.linear_scan
    monkeypatch.setattr(cpu, "linear_scan", lambda *args: ran.append(args[3]) or kernel(*args))
    with native.use(isa):
        with_gradients(lambda *v: scan(*v, False), inputs(2, 4, 3))
        assert ran == [False, True]  # the backward of one way is the other
        assert f"native {isa}" in kernels.info()["linear_scan"]
    with native.use(native.PORTABLE):
        scan(*inputs(2, 4, 3), False)
    assert ran == [False, True]
