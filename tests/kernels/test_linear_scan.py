"""`linear_scan` against its equation, in every way that `memory_scan` is tested."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_cases import assert_near, inputs, with_gradients
from torch import Tensor
from torch.autograd import forward_ad, gradcheck, gradgradcheck
from torch.func import grad, jacrev, vmap

from ramgru.kernels import native
from ramgru.kernels.recurrence import linear_scan
from ramgru.kernels.recurrence.reference import linear_scan as reference

# The best native kernel there is, and torch code.
pytestmark = pytest.mark.parametrize(
    "path", [*native.supported()[:1], native.PORTABLE], indirect=True, scope="module"
)

SIZES = st.tuples(st.integers(0, 3), st.integers(0, 9), st.integers(1, 4))
SEEDS = st.integers(0, 2**20)


@settings(max_examples=150)
@given(SIZES, SEEDS, st.booleans())
def test_equals_the_reference(sizes: tuple[int, int, int], seed: int, strided: bool) -> None:
    values = inputs(*sizes, seed, strided=strided)
    assert_near(
        with_gradients(linear_scan, values), with_gradients(reference, values), absolute=1e-10
    )


def test_long_sequence_equals_the_reference() -> None:
    values = inputs(2, 3000, 3)
    assert_near(
        with_gradients(linear_scan, values), with_gradients(reference, values), absolute=1e-10
    )


@settings(max_examples=50)
@given(SIZES, SEEDS)
def test_float32_is_near_float64(sizes: tuple[int, int, int], seed: int) -> None:
    values = inputs(*sizes, seed, torch.float32)
    exact = with_gradients(reference, [v.double() for v in values])
    assert_near(with_gradients(linear_scan, values), exact, relative=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bfloat16", "float16"])
def test_half_precision_states_are_computed_wide(dtype: torch.dtype) -> None:
    values = inputs(2, 400, 4, dtype=dtype)
    found = with_gradients(linear_scan, values)
    exact = with_gradients(reference, [v.double() for v in values])
    assert {v.dtype for v in found} == {dtype}
    rounding = torch.finfo(dtype).eps
    assert_near(found[:1] * 4, exact[:1] * 4, relative=rounding)
    # The gradient of the decay is a product of two values that were rounded.
    assert_near(found, exact, relative=4 * rounding)


def test_reference_equals_numpy() -> None:
    values = inputs(2, 7, 3)
    decay, update, h = (v.numpy() for v in values)
    states = reference(*values).numpy()
    for t in range(7):
        h = decay[:, t] * h + update[:, t]
        np.testing.assert_array_equal(states[:, t], h)


def test_constant_decay_is_a_geometric_series() -> None:
    decay = torch.full((1, 20, 1), 0.75, dtype=torch.float64)
    update = torch.full((1, 20, 1), 0.25, dtype=torch.float64)
    states = linear_scan(decay, update, torch.zeros(1, 1, dtype=torch.float64))
    n = torch.arange(1, 21, dtype=torch.float64)
    torch.testing.assert_close(states[0, :, 0], 1 - 0.75**n, rtol=0, atol=1e-15)


@settings(max_examples=50)
@given(SIZES, SEEDS, st.data())
def test_pieces_equal_the_whole(
    sizes: tuple[int, int, int], seed: int, data: st.DataObject
) -> None:
    cut = data.draw(st.integers(0, sizes[1]), label="cut")
    values = inputs(*sizes, seed)

    def in_pieces(decay: Tensor, update: Tensor, initial: Tensor) -> Tensor:
        first = linear_scan(decay[:, :cut], update[:, :cut], initial)
        state = first[:, -1] if cut else initial
        return torch.cat([first, linear_scan(decay[:, cut:], update[:, cut:], state)], dim=1)

    assert_near(
        with_gradients(in_pieces, values), with_gradients(linear_scan, values), absolute=1e-10
    )


def test_decay_one_without_update_keeps_the_bits_and_decay_zero_replaces_them() -> None:
    decay, update, initial = inputs(2, 5, 3)
    kept = linear_scan(torch.ones_like(decay), torch.zeros_like(update), initial)
    assert torch.equal(kept, initial.unsqueeze(1).expand(-1, 5, -1))
    assert torch.equal(linear_scan(torch.zeros_like(decay), update, initial), update)


def test_nan_stays_in_its_sequence() -> None:
    values = inputs(3, 6, 2)
    clean = with_gradients(linear_scan, values)
    for v in values:
        v[1] = float("nan")
    for found, wanted in zip(with_gradients(linear_scan, values), clean, strict=True):
        assert torch.equal(found[::2], wanted[::2])


@pytest.mark.parametrize("B", [1, 2])
def test_inputs_are_never_changed(B: int) -> None:
    values = inputs(B, 6, 2)
    before = [v.clone() for v in values]
    with_gradients(linear_scan, values)
    linear_scan(*values).zero_()
    assert all(torch.equal(a, b) for a, b in zip(values, before, strict=True))


@pytest.mark.parametrize("threads", [1, 2])
def test_the_same_bits_twice(threads: int) -> None:
    values = inputs(4, 50, 600, dtype=torch.float32)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        first, second = (with_gradients(linear_scan, values) for _ in range(2))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_first_and_second_derivatives_equal_finite_differences() -> None:
    leaves = [v.requires_grad_() for v in inputs(2, 5, 3)]
    assert gradcheck(linear_scan, leaves)
    assert gradgradcheck(linear_scan, leaves)


def test_third_derivatives_equal_those_of_the_reference() -> None:
    def third(scan) -> list[Tensor]:
        leaves = [v.requires_grad_() for v in inputs(2, 5, 3)]
        value = scan(*leaves).pow(4).sum()
        for _ in range(3):
            grads = torch.autograd.grad(value, leaves, create_graph=True)
            value = sum(g.square().sum() for g in grads)
        return [value]

    torch.testing.assert_close(third(linear_scan), third(reference), rtol=1e-10, atol=0)


@pytest.mark.filterwarnings("ignore:.torch.jit.script. is deprecated:DeprecationWarning")
def test_forward_mode_is_refused() -> None:
    decay, update, initial = inputs(2, 5, 3)
    with forward_ad.dual_level(), pytest.raises(NotImplementedError, match="forward mode"):
        linear_scan(forward_ad.make_dual(decay, decay), update, initial)


@pytest.mark.parametrize("reverse", [False, True], ids=["forward", "backward"])
def test_operator_keeps_the_rules_of_torch_library(reverse: bool) -> None:
    leaves = [v.requires_grad_() for v in inputs(2, 5, 3)]
    torch.library.opcheck(torch.ops.ramgru.linear_scan, (*leaves, reverse))


def test_vmap_equals_a_loop() -> None:
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


def test_jacrev_equals_autograd() -> None:
    values = tuple(inputs(2, 4, 2))
    found = jacrev(linear_scan, (0, 1, 2))(*values)
    wanted = torch.autograd.functional.jacobian(linear_scan, values)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


def test_compiled_equals_eager() -> None:
    torch.compiler.reset()
    compiled = torch.compile(linear_scan, fullgraph=True, backend="aot_eager")
    values = inputs(2, 6, 3)
    for a, b in zip(
        with_gradients(compiled, values), with_gradients(linear_scan, values), strict=True
    ):
        assert torch.equal(a, b)


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
def test_says_what_does_not_fit(shapes: tuple[tuple[int, ...], ...], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        linear_scan(*(torch.zeros(shape) for shape in shapes))
