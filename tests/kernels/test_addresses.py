"""Product keys and the short convolution: every path against the equations, with gradients."""

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
from ramgru.kernels.address import product_keys, reference, short_convolution
from ramgru.kernels.address import torch as portable

every_isa = pytest.mark.parametrize("isa", native.supported())
every_path = pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE])


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(20241124)


@dataclass(frozen=True)
class Case:
    """B sequences of T steps after W, H heads, codebooks of `sizes` codes, A wide.

    K cells are written and J are read, K where J is None.
    """

    B: int = 2
    T: int = 7
    W: int = 3
    H: int = 3
    A: int = 5
    K: int = 3
    J: int | None = None
    sizes: tuple[int, ...] = (4, 5)
    offsets: tuple[int, ...] = (1, 0, 3)
    resets: float = 0.3

    def tensors(self, dtype: torch.dtype) -> list[Tensor | None]:
        """query, before, nothing, codes, sharpness, reset"""
        size = self.H * len(self.sizes) * self.A
        reset = torch.rand(self.B, self.T) < self.resets if self.resets else None
        shapes = (
            (self.B, self.T, size),
            (self.B, self.W, size),
            (size,),
            (self.H, sum(self.sizes), self.A),
            (self.H,),
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
    "one_part": Case(sizes=(300,), A=16),
    "one_cell": Case(K=1, sizes=(7, 3, 2)),
    "two": Case(K=2, A=2),
    "eight": Case(K=8, A=17, sizes=(9, 16)),
    "more_than_a_codebook_has": Case(K=9, sizes=(2, 3, 4)),
    "more_than_there_are": Case(K=40, sizes=(3, 2, 5)),
    "one_code": Case(K=4, sizes=(1, 1)),
    "one_written": Case(K=1, J=4, T=40, sizes=(16, 16)),
    "one_read": Case(K=4, J=1, T=40, sizes=(16, 16)),
    "two_written_of_more_than_there_are": Case(K=2, J=40, sizes=(3, 2)),
    "two_read_of_more_than_there_are": Case(K=40, J=2, sizes=(3, 2)),
}
LARGE = {
    "usual": Case(B=3, T=40, H=4, A=32, K=4, sizes=(64, 64)),
    "four_parts": Case(B=2, T=50, H=2, A=32, K=4, sizes=(32,) * 4),
    "many": Case(K=64, sizes=(17, 33), T=20),
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
LEARNED = (0, 1, 4)  # query, before, sharpness


def evaluate(run: Any, tensors: Sequence[Tensor | None], case: Case) -> list[Tensor]:
    """Addresses, and the gradients of the query, the context and the sharpness."""
    given = list(tensors)
    leaves = [given[i].clone().requires_grad_() for i in LEARNED]
    for i, leaf in zip(LEARNED, leaves, strict=True):
        given[i] = leaf
    results = run(given, case)
    weights = results[1::2]
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(w.shape, generator=g, dtype=torch.float64).to(w.dtype) for w in weights]
    grads = torch.autograd.grad(weights, leaves, above, materialize_grads=True)
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
        assert error < 1e-6
    if all(s.all() for s in same):  # nearly as accurate as torch
        torch_code = evaluate(by_torch, tensors, case)
        for a, b, right in zip(found[4:], torch_code[4:], exact[4:], strict=True):
            error = (a.double() - right).norm()
            assert error <= 2 * (b.double() - right).norm() + 2e-6 * right.norm()


@every_isa
@pytest.mark.parametrize("K", [1, 2, 3, 4, 8, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_nearest_cells_are_the_best_sums_also_with_ties(
    K: int, dtype: torch.dtype, isa: str
) -> None:
    """Scores of unit codes along the axes are the numbers of the query: small integers here."""
    sizes, A = (4, 4, 4), 4
    codes = torch.eye(A, dtype=dtype).repeat(1, len(sizes), 1)
    values = torch.tensor(list(itertools.permutations([0, 1, 1, 2.0])), dtype=dtype)
    query = values[torch.randint(len(values), (1, 200, len(sizes)))].flatten(-2)
    tensors = (query, query[:, :0], query[0, 0], codes, torch.zeros(1, dtype=dtype), None)
    with native.use(isa):
        *_, cell, weight = product_keys(*tensors, writes=1, reads=K, sizes=sizes, offsets=(0,))
    scale = math.sqrt(A / 6)
    first, second, third = query.unflatten(-1, (3, A)).unbind(-2)
    sums = first[..., :, None, None] + second[..., None, :, None] + third[..., None, None, :]
    sums = scale * sums.flatten(2)
    torch.testing.assert_close(sums.gather(-1, cell[:, :, 0]), sums.topk(K).values)
    torch.testing.assert_close(weight[:, :, 0], sums.topk(K).values.softmax(-1))
    assert all(len(set(cells)) == K for cells in cell.flatten(0, 2).tolist())


@every_isa
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", ["usual", "many", "eight", "one_part", "one_written", "one_read"])
def test_a_token_has_the_same_bits_alone_and_in_any_batch(
    name: str, dtype: torch.dtype, isa: str
) -> None:
    case = replace(CASES[name], B=2, T=45)
    tensors = case.tensors(dtype)
    query, before, *others, reset = tensors
    assert query is not None
    assert reset is not None
    W = case.W
    with native.use(isa):
        whole = ours(tensors, case)
        for start, end in ((0, 1), (1, 2), (2, 5), (5, 22), (22, 45)):
            past = torch.cat([before, query[:, :start]], dim=1)[:, -W:]
            # A layer carries `nothing` in place of an input before a reset.
            past = torch.where(_before_reset(reset, start, W).unsqueeze(-1), others[0], past)
            piece = ours((query[:, start:end], past, *others, reset[:, start:end]), case)
            for a, b in zip(piece, whole, strict=True):
                assert torch.equal(a, b[:, start:end])


def _before_reset(reset: Tensor, start: int, W: int) -> Tensor:
    """(B, W) whether a reset lies after each of the W steps before `start`, up to there."""
    steps = [reset[:, max(0, start - W + i + 1) : start].any(1) for i in range(W)]
    return torch.stack(steps, dim=1)


@every_isa
def test_more_cells_than_32_bits_can_number(isa: str) -> None:
    case = Case(T=40, H=2, sizes=(2000, 2000, 2000), A=4, K=4)
    tensors = case.tensors(torch.float32)
    wide = [t.double() if t is not None and t.is_floating_point() else t for t in tensors]
    with native.use(isa):
        found = evaluate(ours, tensors, case)
    exact = evaluate(by_torch, wide, case)
    assert int(found[2].max()) > 2**32
    assert (found[2] == exact[2]).float().mean() > 0.98


@every_isa
def test_gradients_of_one_input_or_from_one_address_alone(isa: str) -> None:
    case = Case()
    tensors = case.tensors(torch.float64)

    def given(*learned: int) -> list[Any]:
        return [
            t if t is None or i not in learned else t.clone().requires_grad_()
            for i, t in enumerate(tensors)
        ]

    with native.use(isa):
        full = evaluate(ours, tensors, case)
        for n, i in enumerate(LEARNED):
            leaves = given(i)
            weights = ours(leaves, case)[1::2]
            g = torch.Generator().manual_seed(1)
            above = [torch.randn(w.shape, generator=g, dtype=w.dtype) for w in weights]
            (one,) = torch.autograd.grad(weights, leaves[i], above)
            assert torch.equal(one, full[4 + n])
        for which, reached in ((1, LEARNED), (3, (0, 4))):  # written alone, read alone
            grads = []
            for run in (ours, by_torch):
                leaves = given(*LEARNED)
                loss = run(leaves, case)[which].sin().sum()
                grads.append(torch.autograd.grad(loss, [leaves[i] for i in reached]))
            assert_same(*map(list, grads))


@every_path
def test_constants_get_no_gradient(path: str) -> None:
    case = Case()
    tensors = [t if t is None else t.requires_grad_() for t in case.tensors(torch.float64)[:5]]
    x, before, nothing, taps = (torch.randn(s, requires_grad=True) for s in shapes(2, 5, 3, 2))
    reset = torch.rand(2, 5) < 0.5
    with native.use(path):
        product_keys(*tensors, None, **case.options)[1].sum().backward()
        short_convolution(x, before, nothing, taps, reset).sum().backward()
    assert [t.grad is None for t in tensors] == [False, False, True, True, False]
    assert [t.grad is None for t in (x, before, nothing, taps)] == [False, False, True, False]


@every_isa
@pytest.mark.parametrize("B", [0, 1])
def test_empty_batch_and_a_query_of_zeros(B: int, isa: str) -> None:
    case = Case(B=B)
    tensors = [
        t if t is None or t.dtype == torch.bool else t * 0 for t in case.tensors(torch.float32)
    ]
    tensors[3] = torch.randn_like(tensors[3])
    with native.use(isa):
        results = evaluate(ours, tensors, case)
    assert results[0].shape == (B, 7, 3, 3)
    assert all(r.isfinite().all() for r in results[:4])
    if B:
        torch.testing.assert_close(results[3], torch.full_like(results[3], 1 / 3))


# The short convolution


def shapes(B: int, T: int, C: int, W: int) -> tuple[tuple[int, ...], ...]:
    """Shapes of x, before, nothing and taps."""
    return (B, T, C), (B, W, C), (C,), (W + 1, C)


def draw(T: int, C: int, W: int, resets: bool, dtype: torch.dtype, B: int = 3) -> list[Any]:
    x = [torch.randn(shape, dtype=dtype) for shape in shapes(B, T, C, W)]
    return [*x, torch.rand(B, T) < 0.3 if resets else None]


def convolved(run: Callable[..., Tensor], given: list[Any], above: Tensor) -> list[Tensor]:
    """The output, and the gradients of x, before and taps."""
    leaves = [given[i].detach().requires_grad_() for i in (0, 1, 3)]
    y = run(leaves[0], leaves[1], given[2], leaves[2], given[4])
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
def test_nan_of_another_sequence_stays_there(path: str) -> None:
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
    query, before, nothing, codes, sharpness, reset = case.tensors(torch.float64)

    def keys(query: Tensor, before: Tensor, sharpness: Tensor) -> tuple[Tensor, ...]:
        return ours((query, before, nothing, codes, sharpness, reset), case)[1::2]

    x, window, nothing_of_x, taps, reset_of_x = draw(4, 2, 2, True, torch.float64)

    def convolution(x: Tensor, before: Tensor, taps: Tensor) -> Tensor:
        return short_convolution(x, before, nothing_of_x, taps, reset_of_x)

    for run, leaves in ((keys, (query, before, sharpness)), (convolution, (x, window, taps))):
        leaves = [t.requires_grad_() for t in leaves]
        assert torch.autograd.gradcheck(run, leaves)
        assert torch.autograd.gradgradcheck(run, leaves)
