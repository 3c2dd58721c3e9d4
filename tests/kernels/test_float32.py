"""Each native kernel in float32 beside its equation in float64, at a usual size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from memory_cases import Case
from torch import Tensor

from ramgru.kernels import key_attention, memory_scan, native, projection, recurrence, tape
from ramgru.kernels.address import product_keys, short_convolution, tag_rows, unit

pytestmark = pytest.mark.skipif(not native.supported(), reason="the native kernels are not built")
B, T, H, D, A, K = 4, 64, 4, 64, 16, 4  # sequences, steps, heads, widths of a row and a key, cells
BOUND = 1e-6  # relative to the norm of a result or a gradient
WIDER = {"product_keys": 1e-5}  # scores are sums of products of order 10: docs/native.md, Limits


def normal(*shape: int, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(shape)


def scan(tag: int) -> tuple[Callable[..., Any], list[Tensor]]:
    case = Case(B, T, H, K, 2 * K, D, 1024, "dense", reset=True, lengths=True, tag=tag, seed=1)
    x = case.tensors(torch.float32)
    names = [name for name, t in x.items() if t.is_floating_point()]
    rest = {name: t for name, t in x.items() if name not in names}

    def run(*given: Tensor) -> Any:
        x = rest | dict(zip(names, given, strict=True))
        return memory_scan.memory_scan(**x, memory_size=case.N, want_final=True)

    return run, [x[name] for name in names]


def keys(*given: Tensor) -> Any:
    options = {"writes": 2, "reads": K, "sizes": (32, 32), "offsets": (1, 0, 1, 0)}
    return product_keys(*given, RESET, **options)


RESET = torch.arange(B * T).view(B, T) % 19 == 7
LENGTHS = torch.tensor([T, 0, T // 2, T - 1])
# Each a function of float tensors, and those.
KERNELS: dict[str, Callable[[], tuple[Callable[..., Any], list[Tensor]]]] = {
    "gru": lambda: (
        lambda *x: recurrence.gru(*x, RESET, LENGTHS),
        [normal(B, T, 3 * D), normal(B, D), normal(3 * D, D, scale=D**-0.5 / 2), normal(3 * D)],
    ),
    "mingru": lambda: (
        lambda *x: recurrence.mingru(*x, RESET, LENGTHS),
        [normal(B, T, 2 * D), normal(B, D)],
    ),
    "diagonal_gru": lambda: (
        lambda *x: recurrence.diagonal_gru(*x, RESET, LENGTHS),
        [normal(B, T, 3 * D), normal(B, D), normal(3 * D, scale=0.5), normal(3 * D)],
    ),
    "linear_scan": lambda: (
        recurrence.linear_scan,
        [torch.rand(B, T, D), normal(B, T, D), normal(B, D)],
    ),
    "memory_scan": lambda: scan(0),
    "memory_scan with tags": lambda: scan(A),
    "tape": lambda: (
        lambda x, p: tape.tape(x, p.double(), RESET, LENGTHS, cells=64, window=1),
        [normal(B, T, 3 * H, scale=0.5), 5 * normal(B, 2 * H)],
    ),
    "key_attention": lambda: (
        lambda *x: key_attention.key_attention(*x, RESET, LENGTHS, window=32),
        [
            *(normal(B, T, H, D), normal(B, T, H, A), normal(B, T, H, A)),
            *(normal(H), torch.rand(B, T, H), normal(B, T, H, D), normal(H)),
        ],
    ),
    "product_keys": lambda: (
        keys,
        [
            *(normal(B, T, H * A), normal(B, 1, H * A), normal(H, 2 * A, A), normal(H, 2 * A)),
            *(normal(H, 64, A), normal(H)),
        ],
    ),
    "unit": lambda: (unit, [normal(B, T, H, A)]),
    "tag_rows": lambda: (
        lambda x, key, query: tag_rows(x, [key], [query], A),
        [normal(B, T, H, D), normal(B, T, H, A), normal(B, T, H, A)],
    ),
    "short_convolution": lambda: (
        lambda *x: short_convolution(*x, RESET),
        [normal(B, T, D), normal(B, 3, D), normal(4, D)],
    ),
    "gated_sum": lambda: (projection.gated_sum, [normal(B, T, D) for _ in range(3)]),
    "projection": lambda: (projection.projection, [normal(B, T, D), normal(D, D), normal(D)]),
}


def evaluate(run: Callable[..., Any], given: list[Tensor]) -> dict[str, Tensor]:
    leaves = [t.requires_grad_() for t in given]
    found = run(*leaves)
    found = [found] if isinstance(found, Tensor) else found
    learned = [y for y in found if y.requires_grad]
    g = torch.Generator().manual_seed(1)
    above = [torch.randn(y.shape, generator=g).to(y.dtype) for y in learned]
    grads = torch.autograd.grad(learned, leaves, above, materialize_grads=True)
    named = {f"result {n}": y.detach() for n, y in enumerate(found)}
    return named | {f"gradient {n}": g for n, g in enumerate(grads)}


@pytest.mark.parametrize("isa", native.supported())
@pytest.mark.parametrize("kernel", KERNELS)
def test_float32_is_within_a_millionth(kernel: str, isa: str) -> None:
    torch.manual_seed(20241124)
    run, given = KERNELS[kernel]()
    with native.use(native.PORTABLE):
        exact = evaluate(run, [t.double() for t in given])
    with native.use(isa):
        found = evaluate(run, [t.clone() for t in given])
    for name, wanted in exact.items():
        far, exact_norm = (found[name].double() - wanted.double()).norm(), wanted.double().norm()
        assert far <= WIDER.get(kernel, BOUND) * exact_norm, f"{name}: {far / exact_norm:.2g}"
