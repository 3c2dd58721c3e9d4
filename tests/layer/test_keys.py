"""Key heads: the best of all cells without a score for each; a key is read where it was written."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramgru import Memory
from ramgru.config import codebook_sizes, factorise
from ramgru.kernels.address.torch import best
from ramgru.keys import KeyHeads


def all_sums(logits: list[torch.Tensor]) -> torch.Tensor:
    """The scores of all N cells, the last codebook the fastest."""
    every = logits[0]
    for part in logits[1:]:
        every = (every.unsqueeze(-1) + part.unsqueeze(-2)).flatten(-2)
    return every


@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=4),
    number=st.integers(1, 6),
    seed=st.integers(0, 999),
)
def test_best_with_ties_has_the_values_of_the_top(sizes: list[int], number: int, seed: int) -> None:
    number = min(number, math.prod(sizes))
    g = torch.Generator().manual_seed(seed)
    logits = [torch.randint(3, (n,), generator=g).double() for n in sizes]
    value, cell = best(logits, number)
    assert torch.equal(value, all_sums(logits).topk(number).values)
    assert torch.equal(all_sums(logits)[cell], value)
    assert len(set(cell.tolist())) == number


@given(cells=st.integers(1, 5000), parts=st.integers(1, 4))
def test_factors_hold_all_cells_and_few_more(cells: int, parts: int) -> None:
    sizes = factorise(cells, parts)
    assert len(sizes) == parts
    assert cells <= math.prod(sizes)
    # Fewer than one more in every factor would give.
    root = math.ceil(cells ** (1 / parts))
    assert math.prod(sizes) <= (root + 1) ** parts
    assert max(sizes) <= 2 * root + 1


@pytest.mark.parametrize(
    ("cells", "sizes"),
    [
        (1, (1,)),
        (64, (64,)),
        (65, (13, 5)),
        (2048, (64, 32)),
        (4096, (64, 64)),
        (65536, (64, 32, 32)),
        (10**6, (32, 50, 25, 25)),
    ],
    ids=str,
)
def test_codebooks_are_few_and_hold_at_most_64_codes(cells: int, sizes: tuple[int, ...]) -> None:
    assert codebook_sizes(cells) == sizes


ONE_STEP = "key key:write_after=0 key:write_after=2"
SEVERAL = "key:1:write_after=1 key:2:skip=1:write_after=0 key:3:write_after=2"
both_kinds = pytest.mark.parametrize("heads", [ONE_STEP, SEVERAL], ids=["one step", "several"])


def keys(heads: str = ONE_STEP, writes: int = 3, reads: int = 4) -> KeyHeads:
    memory = Memory(cells=64, heads=heads, writes=writes, reads=reads)
    return KeyHeads(memory.heads, 5, memory, dtype=torch.float64)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def split(made: KeyHeads, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The steps of x behind the window of the heads, and the window."""
    return x[:, made.window :], x[:, : made.window]


@both_kinds
@pytest.mark.parametrize(("writes", "reads"), [(4, 4), (1, 4), (4, 1)], ids=str)
def test_a_key_is_read_where_it_was_written(heads: str, writes: int, reads: int) -> None:
    """A head writes at the address of `write_after` steps before: where it read then."""
    made = keys(heads, writes, reads)
    x, same = normal(2, made.window + 9, 5), min(writes, reads)
    write, read = made(*split(made, x), None)
    for h, after in enumerate(made.write_after):
        written, found = write.index[:, after:, h, :same], read.index[:, : 9 - after, h, :same]
        assert torch.equal(written, found)
    # The same key reads the same cells, wherever it stands.
    x[:, -3:] = x[:, -8:-5]
    _, read = made(*split(made, x), None)
    assert torch.equal(read.index[:, 8], read.index[:, 3])
    torch.testing.assert_close(read.weight[:, 8], read.weight[:, 3], rtol=0, atol=1e-12)


def test_a_key_is_its_steps_in_their_order_and_nothing_else() -> None:
    """One head each for the last input, the two before it, and the last three."""
    made = keys("key key:2:skip=1 key:3")
    x = normal(1, made.window + 9, 5)

    def read(x: torch.Tensor) -> torch.Tensor:
        return made(*split(made, x), None)[1].weight[0, -1]

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
    made = keys(writes=3, reads=4)
    write, read = made(normal(2, 7, 5), made.start(2), None)
    for address, number in ((write, 3), (read, 4)):
        assert address.index.shape == address.weight.shape == (2, 7, 3, number)
        assert (address.weight[..., :-1] >= address.weight[..., 1:]).all()  # the nearest first
        assert all(len(set(i.tolist())) == number for i in address.index.flatten(0, 2))
    assert torch.equal(write.weight[..., 0], torch.ones_like(write.weight[..., 0]))
    torch.testing.assert_close(read.weight.sum(-1), torch.ones(2, 7, 3, dtype=torch.float64))


@both_kinds
def test_a_window_does_not_reach_over_a_reset(heads: str) -> None:
    made, x = keys(heads), normal(1, 12, 5)
    reset = torch.tensor([[False, False, True, False, False, True, False]])
    write, read = made(x[:, 5:], x[:, 5 - made.window : 5], reset)
    expected_write, expected_read = made(x[:, 7:10], made.start(1), None)
    assert torch.equal(write.index[:, 2:5], expected_write.index)
    assert torch.equal(read.index[:, 2:5], expected_read.index)
    torch.testing.assert_close(write.weight[:, 2:5], expected_write.weight, rtol=0, atol=1e-12)


def test_sharpness_alone_is_trained() -> None:
    made = keys(SEVERAL)
    assert [name for name, _ in made.named_parameters()] == ["sharpness"]
    write, read = made(normal(2, 7, 5), made.start(2), None)
    ((write.weight**2).sum() + (read.weight**2).sum()).backward()
    assert made.sharpness.grad.abs().min() > 0
