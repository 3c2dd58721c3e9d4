"""Product keys, unit keys and the short convolution: every path against the equations."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.address import product_keys, reference, short_convolution, tag_rows, unit
from ramgru.kernels.address import torch as portable

every_isa = pytest.mark.parametrize("isa", native.supported())
every_path = pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20241124)


@dataclass(frozen=True)
class Case:
    """B sequences of T steps after W, H heads, keys of A numbers, codebooks of `sizes` codes of F.

    K cells are written and J are read, K where J is None.
    """

    B: int = 2
    T: int = 7
    W: int = 3
    H: int = 3
    A: int = 5
    F: int = 4
    K: int = 3
    J: int | None = None
    sizes: tuple[int, ...] = (4, 5)
    offsets: tuple[int, ...] = (1, 0, 3)
    resets: float = 0.3

    def tensors(self, dtype: torch.dtype) -> list[Tensor | None]:
        """key, before, features, phases, codes, sharpness, reset"""
        H, A, F, U = self.H, self.A, self.F, len(self.sizes)
        reset = torch.rand(self.B, self.T) < self.resets if self.resets else None
        shapes = (
            (self.B, self.T, H * A),
            (self.B, self.W, H * A),
            (H, U * F, A),
            (H, U * F),
            (H, sum(self.sizes), F),
            (H,),
        )
        return [*(torch.randn(shape, dtype=dtype) for shape in shapes), reset]

    @property
    def options(self) -> dict[str, Any]:
        return {
            "writes": self.K,
            "reads": self.K if self.J is None else self.J,
            "sizes": self.sizes,
            "offsets": tuple(self.offsets[h % len(self.offsets)] for h in range(self.H)),
        }


SMALL = {
    "one_step": Case(B=1, T=1, resets=0),
    "one_step_of_many": Case(B=70, T=1),
    "shorter_than_the_window": Case(B=9, T=2),
    "no_context": Case(W=0, offsets=(0,)),
    "one_part": Case(sizes=(300,), A=16, F=16),
    "one_cell": Case(K=1, sizes=(7, 3, 2)),
    "two": Case(K=2, A=2, F=3),
    "eight": Case(K=8, A=17, F=33, sizes=(9, 16)),
    "more_than_a_codebook_has": Case(K=9, sizes=(2, 3, 4)),
    "more_than_there_are": Case(K=40, sizes=(3, 2, 5)),
    "one_code": Case(K=4, sizes=(1, 1)),
    "one_written": Case(K=1, J=4, T=40, sizes=(16, 16)),
    "one_read": Case(K=4, J=1, T=40, sizes=(16, 16)),
    "two_written_of_more_than_there_are": Case(K=2, J=40, sizes=(3, 2)),
    "two_read_of_more_than_there_are": Case(K=40, J=2, sizes=(3, 2)),
}
LARGE = {
    "usual": Case(B=3, T=40, H=4, A=16, F=16, K=4, sizes=(64, 64)),
    "four_parts": Case(B=2, T=50, H=2, A=32, F=16, K=4, sizes=(32,) * 4),
    "many": Case(K=64, sizes=(17, 33), T=20),
    "sixteen_of_many": Case(K=2, J=16, A=16, F=16, sizes=(128, 128), T=45),
    "seventeen": Case(K=17, sizes=(33, 20), T=45),
    "forty": Case(K=40, sizes=(50, 6), T=45),
    "long": Case(B=2, T=600, A=3, K=2, sizes=(3, 4)),
}
LARGE |= {
    f"{tokens}_tokens": Case(B=1, T=tokens, A=lanes + 1, K=4, sizes=(lanes - 1, 2 * lanes), H=1)
    for tokens, lanes in ((3, 2), (4, 4), (5, 8), (8, 16), (15, 4), (17, 8), (31, 2), (33, 16))
}
LARGE |= {
    f"{tokens}_tokens": Case(B=1, T=tokens, resets=0.1)
    for tokens in (127, 128, 129)  # the edges of a work item
}
CASES = SMALL | LARGE
SHARPNESS = 5  # its place among the tensors


def evaluate(run: Any, tensors: Sequence[Tensor | None], case: Case) -> list[Tensor]:
    """Addresses, and the gradient of the sharpness."""
    given = list(tensors)
    given[SHARPNESS] = sharpness = given[SHARPNESS].clone().requires_grad_()
    results = run(given, case)
    weights = results[1::2]
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(w.shape, generator=g, dtype=torch.float64).to(w.dtype) for w in weights]
    grads = torch.autograd.grad(weights, sharpness, above, materialize_grads=True)
    return [*(r.detach() for r in results), *grads]


def ours(tensors: Sequence[Tensor | None], case: Case) -> tuple[Tensor, ...]:
    return product_keys(*tensors, **case.options)


def by_torch(tensors: Sequence[Tensor | None], case: Case) -> tuple[Tensor, ...]:
    return portable.product_keys(*tensors, *case.options.values())


def by_equations(tensors: Sequence[Tensor | None], case: Case) -> tuple[Tensor, ...]:
    return reference.product_keys(*tensors, *case.options.values())


def assert_same(found: list[Tensor], wanted: list[Tensor]) -> None:
    for a, b in zip(found, wanted, strict=True):
        if a.is_floating_point():
            torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)
        else:
            assert torch.equal(a, b)


@pytest.mark.parametrize("case", SMALL.values(), ids=SMALL)
def test_torch_code_equals_the_equations(case: Case) -> None:
    tensors = case.tensors(torch.float64)
    assert_same(evaluate(by_torch, tensors, case), evaluate(by_equations, tensors, case))


@every_isa
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_native_code_equals_torch_code(case: Case, isa: str) -> None:
    tensors = case.tensors(torch.float64)
    with native.use(isa):
        found = evaluate(ours, tensors, case)
    assert_same(found, evaluate(by_torch, tensors, case))


@every_isa
@pytest.mark.parametrize(
    "name", ["usual", "four_parts", "eight", "many", "one_part", "one_written", "one_read"]
)
def test_single_precision(name: str, isa: str) -> None:
    """The same nearest cells, up to ties within rounding, and correct weights for these cells."""
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    wide = [t.double() if t is not None and t.is_floating_point() else t for t in tensors]
    with native.use(isa):
        found = evaluate(ours, tensors, case)
    exact = evaluate(by_torch, wide, case)
    same = [(found[i] == exact[i]).all(-1) for i in (0, 2)]
    assert all(s.float().mean() > 0.99 for s in same)
    for a, b, where in zip(found[1:4:2], exact[1:4:2], same, strict=True):
        error = (a.double() - b)[where].norm() / b[where].norm()
        assert error < 3e-6
    if all(s.all() for s in same):  # nearly as accurate as torch
        torch_code = evaluate(by_torch, tensors, case)
        for a, b, right in zip(found[4:], torch_code[4:], exact[4:], strict=True):
            error = (a.double() - right).norm()
            assert error <= 2 * (b.double() - right).norm() + 1e-5 * right.norm()


@every_isa
@pytest.mark.parametrize("K", [1, 2, 3, 4, 8, 11, 16, 17, 40])
@pytest.mark.parametrize("T", [1, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_nearest_cells_are_the_best_sums_also_with_ties(
    K: int, T: int, dtype: torch.dtype, isa: str
) -> None:
    """Scores of unit codes along the axes are the numbers of the query: halves here."""
    sizes, F, H = (4, 4, 4), 4, 30
    codes = torch.eye(F, dtype=dtype).repeat(H, len(sizes), 1)
    values = torch.tensor(list(itertools.permutations([0, 0.5, 0.5, 1])), dtype=dtype)
    query = values[torch.randint(len(values), (H, len(sizes)))]  # of all steps: features go round
    phases, key = query.acos().flatten(1), torch.randn(1, T, H, dtype=dtype)
    features = torch.full((H, 3 * F, 1), 4 * math.pi, dtype=dtype)
    sharpness = torch.zeros(H, dtype=dtype)
    tensors = (key, key[:, :0], features, phases, codes, sharpness, None)
    with native.use(isa):
        options = {"writes": 1, "reads": K, "sizes": sizes, "offsets": (0,) * H}
        *_, cell, weight = product_keys(*tensors, **options)
    first, second, third = query.unbind(-2)
    sums = first[..., :, None, None] + second[..., None, :, None] + third[..., None, None, :]
    sums = (math.sqrt(F / 1.5) * sums).flatten(1).expand(1, T, H, -1)
    torch.testing.assert_close(sums.gather(-1, cell), sums.topk(K).values, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(weight, sums.topk(K).values.softmax(-1), rtol=1e-5, atol=1e-5)
    assert all(len(set(cells)) == K for cells in cell.flatten(0, 2).tolist())


@every_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(
    "name",
    [
        *("usual", "many", "eight", "one_part", "one_written", "one_read"),
        *("sixteen_of_many", "seventeen", "forty"),
    ],
)
def test_a_token_has_the_same_bits_alone_and_in_any_batch(
    name: str, dtype: torch.dtype, isa: str
) -> None:
    case = replace(CASES[name], B=2, T=45)
    tensors = case.tensors(dtype)
    key, before, *others, reset = tensors
    assert key is not None
    assert reset is not None
    W = case.W
    with native.use(isa):
        whole = ours(tensors, case)
        for start, end in ((0, 1), (1, 2), (2, 5), (5, 22), (22, 45)):
            past = torch.cat([before, key[:, :start]], dim=1)[:, -W:]
            # A layer carries zeros in place of an input before a reset.
            past = past.masked_fill(_before_reset(reset, start, W).unsqueeze(-1), 0)
            piece = ours((key[:, start:end], past, *others, reset[:, start:end]), case)
            for a, b in zip(piece, whole, strict=True):
                assert torch.equal(a, b[:, start:end])


def _before_reset(reset: Tensor, start: int, W: int) -> Tensor:
    """(B, W) whether a reset lies after each of the W steps before `start`, up to there."""
    steps = [reset[:, max(0, start - W + i + 1) : start].any(1) for i in range(W)]
    return torch.stack(steps, dim=1)


@every_isa
def test_more_cells_than_32_bits_can_number(isa: str) -> None:
    case = Case(T=40, H=2, sizes=(2000, 2000, 2000), K=4)
    tensors = case.tensors(torch.float32)
    wide = [t.double() if t is not None and t.is_floating_point() else t for t in tensors]
    with native.use(isa):
        found = evaluate(ours, tensors, case)
    exact = evaluate(by_torch, wide, case)
    assert int(found[2].max()) > 2**32
    assert (found[2] == exact[2]).float().mean() > 0.98


@every_isa
@pytest.mark.parametrize("which", [1, 3], ids=["written", "read"])
def test_gradient_from_one_address_alone(which: int, isa: str) -> None:
    case, grads = Case(), []
    given = case.tensors(torch.float64)
    given[SHARPNESS].requires_grad_()
    with native.use(isa):
        for run in (ours, by_torch):
            loss = run(given, case)[which].sin().sum()
            grads.append(torch.autograd.grad(loss, given[SHARPNESS])[0])
    torch.testing.assert_close(*grads, rtol=1e-10, atol=1e-12)


@every_path
def test_the_hash_passes_no_gradient_on(path: str) -> None:
    case = Case()
    tensors = [t if t is None else t.requires_grad_() for t in case.tensors(torch.float64)[:-1]]
    with native.use(path):
        product_keys(*tensors, None, **case.options)[1].sum().backward()
    assert [t.grad is None for t in tensors] == [True] * SHARPNESS + [False]


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_scale_of_a_key_does_not_count(path: str, dtype: torch.dtype) -> None:
    case = CASES["usual"]
    key, before, *others = case.tensors(dtype)
    with native.use(path):
        usual = ours((key, before, *others), case)
        for exponent in (-60, 60):  # 1e-18, 1e18
            scale = 2.0**exponent * torch.rand(case.B, 1, 1).exp2().round()
            found = ours((key * scale.to(dtype), before * scale.to(dtype), *others), case)
            assert all(map(torch.equal, found, usual))


@every_path
@pytest.mark.parametrize("B", [0, 1])
def test_empty_batch_and_a_zero_key(B: int, path: str) -> None:
    """All zero keys have the cells of a step before a reset."""
    case = Case(B=B, resets=1.0)
    tensors = case.tensors(torch.float32)
    tensors[:2] = [torch.zeros_like(t) for t in tensors[:2]]
    with native.use(path):
        results = evaluate(ours, tensors, case)
    assert results[0].shape == (B, 7, 3, 3)
    assert all(r.isfinite().all() for r in results)
    for r in results[:4]:
        assert torch.equal(r, r[:, :1].expand_as(r))
    assert torch.equal(results[0], results[2])


@every_path
def test_nan_of_another_sequence_stays_there_and_cells_stay_in_the_memory(path: str) -> None:
    case = Case(B=3, T=40)
    tensors = case.tensors(torch.float32)
    with native.use(path):
        usual = ours(tensors, case)
        tensors[0][1] = float("nan")
        found = ours(tensors, case)
    assert found[3][1].isnan().all()
    for a, b in zip(found, usual, strict=True):
        assert torch.equal(a[[0, 2]], b[[0, 2]])
    for cells in (found[0], found[2]):
        assert ((cells >= 0) & (cells < math.prod(case.sizes))).all()


# Unit keys


@every_path
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (3, 7, 16), (513, 3), (40, 33)], ids=str)
def test_unit_keys_equal_the_equation(path: str, shape: tuple[int, ...]) -> None:
    key, above = (torch.randn(shape, dtype=torch.float64) for _ in range(2))
    key[len(key) // 2 :][:1] = 0
    key.requires_grad_()
    with native.use(path):
        found = unit(key)
        (grad,) = torch.autograd.grad(found, key, above)
    wanted = reference.unit(key)
    torch.testing.assert_close(found, wanted, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(grad, torch.autograd.grad(wanted, key, above)[0])
    assert not grad[key.detach() == 0].any()


@every_path
def test_unit_keys_of_any_scale(path: str) -> None:
    key, above = torch.randn(40, 16), torch.randn(40, 16)
    with native.use(path):
        for scale in (2.0**-60, 1.0, 2.0**60):
            leaf = (scale * key).requires_grad_()
            found = unit(leaf)
            (grad,) = torch.autograd.grad(found, leaf, above)
            assert torch.equal(found, unit(key))
            torch.testing.assert_close(found.square().mean(-1), torch.ones(40))
            assert (grad * leaf).sum(-1).abs().max() < 1e-4  # the length does not count
            (wanted,) = torch.autograd.grad(reference.unit(leaf), leaf, above)
            torch.testing.assert_close(grad * scale, wanted * scale, rtol=1e-4, atol=1e-5)


# Rows with tags


@every_path
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("queries", [True, False])
@pytest.mark.parametrize("heads", [(), (3,), (1, 2), (2, 3)], ids=str)
def test_rows_with_tags(
    path: str, heads: tuple[int, ...], queries: bool, dtype: torch.dtype
) -> None:
    wide = torch.float32 if dtype == torch.bfloat16 else dtype
    candidate = torch.randn(2, 70, 5, 6).to(dtype).requires_grad_()
    keys, asked = (
        [torch.randn(2, 70, h, 4, dtype=wide).requires_grad_(n == 1) for n, h in enumerate(heads)]
        for _ in range(2)
    )
    asked = asked if queries else []
    with native.use(path):
        rows, query = tag_rows(candidate, keys, asked, 3)
        leaves = [candidate, *keys[1:], *asked[1:]]
        grads = torch.autograd.grad(
            rows.float().sin().sum() + query.float().cos().sum(), leaves, materialize_grads=True
        )
    above_rows, above_query = rows.detach().float().cos(), -query.detach().float().sin()
    assert torch.equal(rows[..., :6], candidate)
    torch.testing.assert_close(grads[0].float(), above_rows[..., :6], rtol=1e-2, atol=1e-2)
    first = 0
    for n, h in enumerate(heads):
        mine = slice(first, first := first + h)
        assert torch.equal(rows[:, :, mine, 6:], keys[n][..., :3].to(dtype))
        if queries:
            assert torch.equal(query[:, :, mine], asked[n][..., :3].to(dtype))
        if n == 1:
            for grad, above in zip(grads[1:], (above_rows[..., 6:], above_query)):
                torch.testing.assert_close(
                    grad[..., :3].float(), above[:, :, mine], rtol=1e-2, atol=1e-2
                )
                assert not grad[..., 3:].any()
    assert not rows[:, :, first:, 6:].any()
    assert not query[:, :, first if queries else 0 :].any()


# The short convolution


def draw(T: int, C: int, W: int, resets: bool, dtype: torch.dtype, B: int = 3) -> list[Any]:
    """x, before, taps, reset"""
    x = [torch.randn(shape, dtype=dtype) for shape in ((B, T, C), (B, W, C), (W + 1, C))]
    return [*x, torch.rand(B, T) < 0.3 if resets else None]


def convolved(run: Callable[..., Tensor], given: list[Any], above: Tensor) -> list[Tensor]:
    """The output, and the gradients of x, before and taps."""
    leaves = [t.detach().requires_grad_() for t in given[:3]]
    y = run(*leaves, given[3])
    return [y.detach(), *torch.autograd.grad(y, leaves, above, materialize_grads=True)]


@every_path
@pytest.mark.parametrize("resets", [False, True])
@pytest.mark.parametrize(("T", "W"), [(1, 0), (1, 3), (2, 3), (64, 1), (65, 3), (130, 5)])
def test_convolution_equals_the_equation(path: str, resets: bool, T: int, W: int) -> None:
    for C in (1, 7, 16, 31, 32, 33, 80):
        given, above = draw(T, C, W, resets, torch.float64), torch.randn(3, T, C).double()
        with native.use(path):
            found = convolved(short_convolution, given, above)
        for a, b in zip(found, convolved(reference.short_convolution, given, above), strict=True):
            torch.testing.assert_close(a, b, rtol=1e-11, atol=1e-11)


@every_isa
def test_convolution_in_single_precision(isa: str) -> None:
    given, above = draw(700, 48, 3, True, torch.float32), torch.randn(3, 700, 48)
    wide = [v if v is None or v.dtype == torch.bool else v.double() for v in given]
    with native.use(isa):
        found = convolved(short_convolution, given, above)
    exact = convolved(reference.short_convolution, wide, above.double())
    for a, b in zip(found, exact, strict=True):
        assert (a - b).norm() <= 1e-6 * b.norm()  # a gradient may be zero: all is behind resets


@every_path
def test_nan_in_a_convolution_stays_in_its_sequence(path: str) -> None:
    given = draw(5, 3, 2, True, torch.float64)
    given[0][1] = float("nan")
    with native.use(path):
        y = short_convolution(*given)
    assert y[1].isnan().any()
    assert not y[[0, 2]].isnan().any()


# Both


@every_isa
def test_threads_change_no_bit(isa: str) -> None:
    cases = [
        (CASES[name], CASES[name].tensors(torch.float32)) for name in ("usual", "long", "many")
    ]
    given, above = draw(130, 80, 3, True, torch.float32), torch.randn(3, 130, 80)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                keys = [t for case, tensors in cases for t in evaluate(ours, tensors, case)]
                found.append([*keys, *convolved(short_convolution, given, above)])
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


def test_first_and_second_derivatives() -> None:
    case = Case(B=1, T=3, H=1, A=2, K=2, J=3, sizes=(3, 2), offsets=(1,))
    *hashed, sharpness, reset = case.tensors(torch.float64)

    def keys(sharpness: Tensor) -> tuple[Tensor, ...]:
        return ours((*hashed, sharpness, reset), case)[1::2]

    *given, reset_of_x = draw(4, 2, 2, True, torch.float64)

    def convolution(x: Tensor, before: Tensor, taps: Tensor) -> Tensor:
        return short_convolution(x, before, taps, reset_of_x)

    def tagged(candidate: Tensor, key: Tensor, query: Tensor) -> tuple[Tensor, Tensor]:
        return tag_rows(candidate, [key], [query], 2)

    heads = [torch.randn(1, 2, n, 3, dtype=torch.float64) for n in (3, 2, 2)]
    for run, leaves in (
        (keys, [sharpness]),
        (unit, [given[0]]),
        (convolution, given),
        (tagged, heads),
    ):
        leaves = [t.requires_grad_() for t in leaves]
        assert torch.autograd.gradcheck(run, leaves)
        assert torch.autograd.gradgradcheck(run, leaves)
