"""The best cells by their Triton kernel: on a GPU, or through Triton's interpreter on the CPU."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from ramgru.kernels import gpu, native
from ramgru.kernels.address import product_keys, reference
from ramgru.kernels.address.torch import best

pytestmark = pytest.mark.gpu


@pytest.fixture(scope="module")
def kernel(gpu_device):
    """The module of the kernel, which only imports if triton is installed."""
    from ramgru.kernels.address import triton

    return triton


CASES = {
    "one_part": ((9,), 4),
    "usual": ((8, 8), 4),
    "one_cell": ((7, 3, 2), 1),
    "three_parts": ((5, 3, 4), 8),
    "more_than_a_codebook_has": ((2, 3, 4), 9),
    "more_than_there_are": ((3, 2, 5), 40),
    "one_code": ((1, 1), 4),
    "one_code_at_first": ((1, 17), 4),
    "many": ((17, 33), 20),
    "a_part_of_many_codes": ((2048, 3), 3),
}
every_case = pytest.mark.parametrize(("sizes", "top_k"), CASES.values(), ids=CASES)


def draw(sizes, device, shape=(2, 3, 3), whole=False) -> list[Tensor]:
    """Logits of each part; `whole` numbers have many ties."""
    g = torch.Generator().manual_seed(3)
    logits = [torch.randn(*shape, n, generator=g) for n in sizes]
    return [(part.mul(1.5).round() if whole else part).to(device) for part in logits]


def every_sum(logits: list[Tensor]) -> Tensor:
    """(..., N) the sums of all cells, in the order of their numbers."""
    sums = logits[0]
    for part in logits[1:]:
        sums = (sums.unsqueeze(-1) + part.unsqueeze(-2)).flatten(-2)
    return sums


def by_every_sum(logits: list[Tensor], top_k: int) -> tuple[Tensor, Tensor]:
    sums = every_sum(logits)
    return sums.topk(min(top_k, sums.shape[-1]))


@every_case
def test_are_the_best_of_all_sums(kernel, gpu_device, sizes, top_k):
    logits = draw(sizes, gpu_device)
    for a, b in zip(best(logits, top_k), by_every_sum(logits, top_k), strict=True):
        assert torch.equal(a, b)


@every_case
def test_among_equals_the_lower_codes_come_first_and_no_cell_comes_twice(
    kernel, gpu_device, sizes, top_k
):
    logits = draw(sizes, gpu_device, whole=True)
    value, cell = best(logits, top_k)
    sums = every_sum(logits)
    assert torch.equal(value, sums.topk(value.shape[-1]).values)
    assert torch.equal(sums.gather(-1, cell), value)
    assert all(len(set(row)) == len(row) for row in cell.flatten(0, -2).tolist())
    again = best(logits, top_k)
    assert torch.equal(cell, again[1])
    if len(sizes) == 1:
        assert torch.equal(
            cell, sums.sort(dim=-1, descending=True, stable=True).indices[..., :top_k]
        )


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")  # numpy's
def test_cells_are_in_the_memory_and_differ_whatever_the_logits_are(kernel, gpu_device):
    sizes, top_k, clean = (4, 5, 3), 6, draw((4, 5, 3), gpu_device, (16, 2, 3))
    logits = [part.clone() for part in clean]
    for row in range(12):
        part = logits[row % 3]
        part[row, 0, :, row % 2 :: 2] = (math.nan, math.inf, -math.inf)[row // 3 % 3]
    logits[1][12] = -math.inf
    for part in logits:
        part[13] = math.nan
    value, cell = best(logits, top_k)
    assert ((cell >= 0) & (cell < math.prod(sizes))).all()
    assert all(len(set(row)) == top_k for row in cell.flatten(0, -2).tolist())
    assert value[13].isnan().all()
    untouched = torch.tensor([14, 15])
    for a, b in zip((value, cell), best(clean, top_k), strict=True):
        assert torch.equal(a[untouched], b[untouched])
        assert torch.equal(a[:12, 1], b[:12, 1])


def test_nothing_and_one_row(kernel, gpu_device):
    for shape in ((0, 5, 3), (1, 1, 1)):
        value, cell = best(draw((4, 5), gpu_device, shape), 3)
        assert value.shape == cell.shape == (*shape, 3)


def test_torch_runs_where_a_part_has_too_many_codes(kernel, gpu_device, monkeypatch):
    monkeypatch.setattr(kernel, "best", None)  # not to be called
    best(draw((2049, 2), gpu_device, (1, 1, 1)), 2)
    with gpu.use(gpu.OFF):
        best(draw((4, 2), gpu_device), 2)


def test_the_address_is_computed_by_it(kernel, gpu_device, monkeypatch):
    calls = []
    real = kernel.best
    monkeypatch.setattr(kernel, "best", lambda *args: calls.append(args[1]) or real(*args))
    g = torch.Generator().manual_seed(5)
    shapes = ((2, 7, 3 * 4), (2, 2, 12), (3, 2 * 5, 4), (3, 10), (3, 4 + 6, 5), (3,))
    tensors = [torch.randn(s, generator=g).to(gpu_device).requires_grad_() for s in shapes]
    reset = torch.rand(2, 7, generator=g).to(gpu_device) < 0.3
    options = {"writes": 2, "reads": 3, "sizes": (4, 6), "offsets": (1, 0, 2)}
    with native.use(native.PORTABLE):
        got = product_keys(*tensors, reset, **options)
    assert calls == [3, 3]  # the keys, and the zero key
    wanted = reference.product_keys(*tensors, reset, *options.values())
    for a, b in zip(got, wanted, strict=True):
        torch.testing.assert_close(a, b)
    pairs = [
        torch.autograd.grad([r[1].sum(), r[3].square().sum()], tensors[-1:]) for r in (got, wanted)
    ]
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)
