"""Addresses: the best of all cells, none of them scored alone; found where they were written."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramgru.kernels.address.torch import best, shift
from ramgru.keys import ProductKeys, factorise


@pytest.mark.parametrize(
    "sizes", [(7,), (4, 3), (1, 9), (3, 2, 4), (2, 3, 2, 3), (5, 5, 5)], ids=str
)
@pytest.mark.parametrize("top_k", [1, 2, 4, 7])
def test_best_is_the_top_of_all_cells(sizes: tuple[int, ...], top_k: int) -> None:
    top_k = min(top_k, math.prod(sizes))
    logits = [torch.randn(2, 3, n, dtype=torch.float64) for n in sizes]
    every = logits[0]
    for part in logits[1:]:  # all N sums, the last codebook the fastest
        every = (every.unsqueeze(-1) + part.unsqueeze(-2)).flatten(-2)
    value, cell = every.topk(top_k, dim=-1)
    found_value, found_cell = best(logits, top_k)
    assert torch.equal(found_cell, cell)
    assert torch.equal(found_value, value)


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    top_k=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_best_with_ties_has_the_values_of_the_top(sizes: list[int], top_k: int, seed: int) -> None:
    top_k = min(top_k, math.prod(sizes))
    g = torch.Generator().manual_seed(seed)
    logits = [torch.randint(3, (n,), generator=g).double() for n in sizes]
    every = logits[0]
    for part in logits[1:]:
        every = (every.unsqueeze(-1) + part.unsqueeze(-2)).flatten(-2)
    value, cell = best(logits, top_k)
    assert torch.equal(value, every.topk(top_k).values)
    assert torch.equal(every[cell], value)
    assert len(set(cell.tolist())) == top_k


@given(memory_size=st.integers(1, 5000), parts=st.integers(1, 4))
def test_factors_hold_all_cells_and_few_more(memory_size: int, parts: int) -> None:
    sizes = factorise(memory_size, parts)
    assert len(sizes) == parts
    assert memory_size <= math.prod(sizes)
    # Not many more: fewer than one step up in every factor would give.
    root = math.ceil(memory_size ** (1 / parts))
    assert math.prod(sizes) <= (root + 1) ** parts
    assert max(sizes) <= 2 * root + 1


@pytest.mark.parametrize(
    ("memory_size", "parts", "sizes"),
    [
        (65536, 2, (256, 256)),
        (2048, 2, (64, 32)),
        (2**20, 4, (32, 32, 32, 32)),
        (10**6, 3, (100, 100, 100)),
        (10**6, 6, (10,) * 6),
        (1, 3, (1, 1, 1)),
        (12, 1, (12,)),
        (13, 2, (4, 4)),
    ],
    ids=str,
)
def test_factors(memory_size: int, parts: int, sizes: tuple[int, ...]) -> None:
    assert factorise(memory_size, parts) == sizes


def test_shift() -> None:
    x = torch.arange(6).view(1, 6)  # two steps before, then four
    assert shift(x, 0, 2).tolist() == [[2, 3, 4, 5]]
    assert shift(x, 2, 2).tolist() == [[0, 1, 2, 3]]


def keys(**options: object) -> ProductKeys:
    made = {"width": 8, "window": 6, "offsets": (1, 0, 2), **options}
    return ProductKeys(5, 3, 64, 4, **made).double()


KINDS = {"plain": {}, "keys of several steps": {"skips": (0, 1), "spans": (1, 2, 3)}}
KINDS["learned"] = {**KINDS["keys of several steps"], "learn_context": True}
every_kind = pytest.mark.parametrize("options", list(KINDS.values()), ids=list(KINDS))


@every_kind
def test_what_is_read_is_found_where_it_was_written(options: dict[str, Any]) -> None:
    """Head h writes at the address of offsets[h] steps before: the one that it read at then."""
    address, x = keys(**options), torch.randn(2, 14, 5, dtype=torch.float64)
    write, read = address(x[:, 5:], x[:, :5], None)
    for h, offset in enumerate((1, 0, 2)):
        assert torch.equal(write.index[:, offset:, h], read.index[:, : 9 - offset, h])
    # The same key reads at the same cells, wherever it stands.
    x[:, 11:] = x[:, 6:9]
    _, read = address(x[:, 5:], x[:, :5], None)
    assert torch.equal(read.index[:, 8], read.index[:, 3])
    torch.testing.assert_close(read.weight[:, 8], read.weight[:, 3], rtol=0, atol=1e-12)


def test_a_key_is_its_steps_in_their_order_and_nothing_else() -> None:
    """One head each for the last input, the two before it, and the last three."""
    address = keys(skips=(0, 1, 0), spans=(1, 2, 3))
    x = torch.randn(1, 14, 5, dtype=torch.float64)

    def read(x: torch.Tensor) -> torch.Tensor:
        return address(x[:, 5:], x[:, :5], None)[1].weight[0, -1]

    def heads_that_see(change: Callable[[torch.Tensor], object]) -> list[bool]:
        changed = x.clone()
        change(changed)
        return (read(changed) != read(x)).any(-1).tolist()

    assert heads_that_see(lambda x: x[:, -1].neg_()) == [True, False, True]
    assert heads_that_see(lambda x: x[:, -2].neg_()) == [False, True, True]
    assert heads_that_see(lambda x: x[:, -3].neg_()) == [False, True, True]
    assert heads_that_see(lambda x: x[:, -4].neg_()) == [False, False, False]
    swapped = x.clone()
    swapped[:, -2], swapped[:, -3] = x[:, -3], x[:, -2]
    assert (read(swapped) != read(x)).any(-1).tolist() == [False, True, True]


def test_weights() -> None:
    x = torch.randn(2, 9, 5, dtype=torch.float64)
    write, read = keys()(x[:, 2:], torch.zeros(2, 5, 5).double(), None)
    for address in (write, read):
        assert address.index.shape == address.weight.shape == (2, 7, 3, 4)
        assert (address.weight[..., :-1] >= address.weight[..., 1:]).all()  # the nearest first
        assert all(len(set(i.tolist())) == 4 for i in address.index.flatten(0, 2))
    assert torch.equal(write.weight[..., 0], torch.ones_like(write.weight[..., 0]))
    torch.testing.assert_close(read.weight.sum(-1), torch.ones(2, 7, 3, dtype=torch.float64))


@every_kind
def test_a_window_does_not_reach_over_a_reset(options: dict[str, Any]) -> None:
    address, x = keys(**options), torch.randn(1, 12, 5, dtype=torch.float64)
    reset = torch.tensor([[False, False, True, False, False, True, False]])
    write, read = address(x[:, 5:], x[:, :5], reset)
    fresh = torch.zeros(1, 5, 5, dtype=torch.float64)
    expected_write, expected_read = address(x[:, 7:10], fresh, None)
    assert torch.equal(write.index[:, 2:5], expected_write.index)
    assert torch.equal(read.index[:, 2:5], expected_read.index)
    torch.testing.assert_close(write.weight[:, 2:5], expected_write.weight, rtol=0, atol=1e-12)


def test_every_parameter_of_an_address_has_a_gradient() -> None:
    address = keys(learn_context=True)
    x = torch.randn(2, 12, 5, dtype=torch.float64)
    write, read = address(x[:, 5:], x[:, :5], None)
    ((write.weight**2).sum() + (read.weight**2).sum()).backward()
    for name, parameter in address.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
