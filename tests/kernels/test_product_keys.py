"""Product keys by the native kernel: addresses and gradients of the torch code, on every set."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.product_keys import product_keys, reference

every_isa = pytest.mark.parametrize("isa", native.supported())


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
    def options(self) -> tuple[Any, ...]:
        J = self.K if self.J is None else self.J
        return (
            self.K,
            J,
            self.sizes,
            tuple(self.offsets[h % len(self.offsets)] for h in range(self.H)),
        )


CASES = {
    "usual": Case(B=3, T=40, H=4, A=32, K=4, sizes=(64, 64)),
    "four_parts": Case(B=2, T=50, H=2, A=32, K=4, sizes=(32,) * 4),
    "one_step": Case(B=1, T=1, resets=0),
    "one_step_of_many": Case(B=70, T=1),
    "shorter_than_the_window": Case(B=9, T=2),
    "no_context": Case(W=0, offsets=(0,)),
    "one_part": Case(sizes=(300,), A=16),
    "one_cell_read": Case(K=1, sizes=(7, 3, 2)),
    "two": Case(K=2, A=2),
    "eight": Case(K=8, A=17, sizes=(9, 16)),
    "many": Case(K=64, sizes=(17, 33), T=20),
    "more_than_a_codebook_has": Case(K=9, sizes=(2, 3, 4)),
    "more_than_there_are": Case(K=40, sizes=(3, 2, 5)),
    "one_code": Case(K=4, sizes=(1, 1)),
    "one_written": Case(K=1, J=4, T=40, sizes=(16, 16)),
    "one_read": Case(K=4, J=1, T=40, sizes=(16, 16)),
    "two_written_of_more_than_there_are": Case(K=2, J=40, sizes=(3, 2)),
    "two_read_of_more_than_there_are": Case(K=40, J=2, sizes=(3, 2)),
    "long": Case(B=2, T=600, A=3, K=2, sizes=(3, 4)),
}
CASES |= {
    f"{tokens}_tokens": Case(B=1, T=tokens, A=lanes + 1, K=4, sizes=(lanes - 1, 2 * lanes), H=1)
    for tokens, lanes in ((3, 2), (4, 4), (5, 8), (8, 16), (15, 4), (17, 8), (31, 2), (33, 16))
}
CASES |= {
    f"{tokens}_tokens": Case(B=1, T=tokens, resets=0.1)
    for tokens in (127, 128, 129)  # the edges of an item
}


def evaluate(run: Any, tensors: list[Tensor | None], options: tuple[Any, ...]) -> list[Tensor]:
    """Addresses, and the gradients of all tensors for a fixed gradient of the weights."""
    leaves = [
        t if t is None or t.dtype == torch.bool else t.clone().requires_grad_() for t in tensors
    ]
    results = run(leaves, *options)
    weights = results[1::2]
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(w.shape, generator=g, dtype=torch.float64).to(w.dtype) for w in weights]
    grads = torch.autograd.grad(weights, leaves[:5], above, materialize_grads=True)
    return [*(r.detach() for r in results), *grads]


def by_parts(tensors: list[Tensor | None], *options: Any) -> tuple[Tensor, ...]:
    return reference(*tensors, *options)


@every_isa
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_what_torch_gives(case: Case, isa: str) -> None:
    tensors = case.tensors(torch.float64)
    expected = evaluate(by_parts, tensors, case.options)
    with native.use(isa):
        found = evaluate(product_keys, tensors, case.options)
    for ours, theirs in zip(found, expected, strict=True):
        if ours.is_floating_point():
            torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        else:
            assert torch.equal(ours, theirs)


@every_isa
@pytest.mark.parametrize(
    "name", ["usual", "four_parts", "eight", "many", "one_part", "one_written", "one_read"]
)
def test_single_precision(name: str, isa: str) -> None:
    """The same best cells, up to ties within rounding, with weights that are right for them."""
    case = CASES[name]
    tensors = case.tensors(torch.float32)
    wide = [t.double() if t is not None and t.is_floating_point() else t for t in tensors]
    with native.use(isa):
        found = evaluate(product_keys, tensors, case.options)
    exact = evaluate(by_parts, wide, case.options)
    same = [(found[i] == exact[i]).all(-1) for i in (0, 2)]
    assert all(s.float().mean() > 0.99 for s in same)
    for ours, theirs, where in zip(found[1:4:2], exact[1:4:2], same, strict=True):
        error = (ours.double() - theirs)[where].norm() / theirs[where].norm()
        assert error < 1e-6
    if all(s.all() for s in same):  # not worse than torch, nearly
        torch_code = evaluate(by_parts, tensors, case.options)
        for ours, theirs, right in zip(found[4:], torch_code[4:], exact[4:], strict=True):
            error = (ours.double() - right).norm()
            assert error <= 2 * (theirs.double() - right).norm() + 2e-6 * right.norm()


@every_isa
@pytest.mark.parametrize("K", [1, 2, 3, 4, 8, 11])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_the_best_sums_are_the_best_also_with_ties(K: int, dtype: torch.dtype, isa: str) -> None:
    """Scores of unit codes along the axes are the numbers of the query: small integers here."""
    sizes, A = (4, 4, 4), 4
    codes = torch.eye(A, dtype=dtype).repeat(1, len(sizes), 1)
    values = torch.tensor(list(itertools.permutations([0, 1, 1, 2.0])), dtype=dtype)
    query = values[torch.randint(len(values), (1, 200, len(sizes)))].flatten(-2)
    with native.use(isa):
        _, _, cell, weight = product_keys(
            (query, query[:, :0], query[0, 0], codes, torch.zeros(1, dtype=dtype), None),
            1, K, sizes, (0,),
        )  # fmt: skip
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
def test_a_token_has_the_same_bits_wherever_it_stands(
    name: str, dtype: torch.dtype, isa: str
) -> None:
    case = replace(CASES[name], B=2, T=45)
    tensors = case.tensors(dtype)
    query, before, *others, reset = tensors
    assert query is not None
    assert reset is not None
    W = case.W
    with native.use(isa):
        whole = product_keys(tensors, *case.options)
        for start, end in ((0, 1), (1, 2), (2, 5), (5, 22), (22, 45)):
            past = torch.cat([before, query[:, :start]], dim=1)[:, -W:]
            # What a layer carries as the input before a reset is nothing.
            past = torch.where(_behind(reset, start, W).unsqueeze(-1), others[0], past)
            piece = product_keys(
                (query[:, start:end], past, *others, reset[:, start:end]), *case.options
            )
            for ours, theirs in zip(piece, whole, strict=True):
                assert torch.equal(ours, theirs[:, start:end])


def _behind(reset: Tensor, start: int, W: int) -> Tensor:
    """(B, W) whether a reset lies after each of the W steps before `start`, up to there."""
    steps = [reset[:, max(0, start - W + i + 1) : start].any(1) for i in range(W)]
    return torch.stack(steps, dim=1)


@every_isa
@pytest.mark.parametrize("name", ["usual", "long", "many"])
def test_threads_change_no_bit(name: str, isa: str) -> None:
    case = CASES[name]
    tensors, before = case.tensors(torch.float32), torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 5):
            torch.set_num_threads(threads)
            with native.use(isa):
                found.append(evaluate(product_keys, tensors, case.options))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(map(torch.equal, found[0], other))


@every_isa
def test_written_and_read_are_the_first_of_the_same_cells(isa: str) -> None:
    case = Case(B=3, T=40, K=5, offsets=(0,), sizes=(4, 5))
    tensors, (*_, sizes, offsets) = case.tensors(torch.float64), case.options
    with native.use(isa):
        cell, weight, *_ = product_keys(tensors, 5, 5, sizes, offsets)
        for writes, reads in ((1, 5), (5, 1), (2, 3), (3, 2)):
            found = product_keys(tensors, writes, reads, sizes, offsets)
            assert torch.equal(found[0], cell[..., :writes])
            assert torch.equal(found[1], weight[..., :writes])
            assert torch.equal(found[2], cell[..., :reads])
            part = weight[..., :reads]
            torch.testing.assert_close(
                found[3], part / part.sum(-1, keepdim=True), rtol=1e-14, atol=0
            )


@every_isa
def test_more_cells_than_32_bits_can_number(isa: str) -> None:
    case = Case(T=40, H=2, sizes=(2000, 2000, 2000), A=4, K=4)
    tensors = case.tensors(torch.float32)
    wide = [t.double() if t is not None and t.is_floating_point() else t for t in tensors]
    with native.use(isa):
        found = evaluate(product_keys, tensors, case.options)
    exact = evaluate(by_parts, wide, case.options)
    assert int(found[2].max()) > 2**32
    assert (found[2] == exact[2]).float().mean() > 0.98


@every_isa
def test_gradients_that_are_not_wanted(isa: str) -> None:
    case = Case()
    tensors = case.tensors(torch.float64)
    with native.use(isa):
        full = evaluate(product_keys, tensors, case.options)
        for i in range(5):
            leaves = [t.clone() if t is not None else t for t in tensors]
            leaves[i].requires_grad_()
            results = product_keys(leaves, *case.options)
            g = torch.Generator().manual_seed(1)
            above = [torch.randn(w.shape, generator=g, dtype=w.dtype) for w in results[1::2]]
            (one,) = torch.autograd.grad(results[1::2], leaves[i], above)
            assert torch.equal(one, full[4 + i])
        # Only one of both addresses is used.
        for which in (1, 3):
            leaves = [t.clone().requires_grad_() for t in tensors[:5]]
            reached = [leaves[i] for i in ((0, 1, 2, 3, 4) if which == 1 else (0, 3, 4))]
            grads = [
                torch.autograd.grad(
                    run([*leaves, tensors[5]], *case.options)[which].sin().sum(), reached
                )
                for run in (product_keys, by_parts)
            ]
            for ours, theirs in zip(*grads, strict=True):
                torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_second_derivatives() -> None:
    case = Case(B=1, T=3, H=1, A=2, K=2, J=3, sizes=(3, 2), offsets=(1,))
    *leaves, reset = case.tensors(torch.float64)
    leaves = [t.requires_grad_() for t in leaves]

    def run(*leaves: Tensor) -> tuple[Tensor, ...]:
        return product_keys((*leaves, reset), *case.options)[1::2]

    assert torch.autograd.gradgradcheck(run, leaves)


@every_isa
@pytest.mark.parametrize("B", [0, 1])
def test_empty_batch_and_a_query_of_zeros(B: int, isa: str) -> None:
    case = Case(B=B)
    tensors = [
        t if t is None or t.dtype == torch.bool else t * 0 for t in case.tensors(torch.float32)
    ]
    tensors[3] = torch.randn_like(tensors[3])
    with native.use(isa):
        results = evaluate(product_keys, tensors, case.options)
    assert results[0].shape == (B, 7, 3, 3)
    assert all(r.isfinite().all() for r in results[:4])
    if B:
        torch.testing.assert_close(results[3], torch.full_like(results[3], 1 / 3))
