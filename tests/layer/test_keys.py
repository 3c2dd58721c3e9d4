"""Key heads: the best of all cells without a score for each; a key is read where it was written."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramgru import RAMGRU, Key, Memory, trace
from ramgru.config import codebook_sizes, factorise
from ramgru.kernels import native
from ramgru.kernels.address.torch import best
from ramgru.keys import CODE, Address, KeyHeads


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
SEVERAL = "key:2:skip=1:write_after=0 key:3:write_after=2 learned learned:2:write_after=1"
every_path = pytest.mark.parametrize("path", [*native.supported(), native.PORTABLE])
KINDS = "key key learned learned:write_after=1"
both_kinds = pytest.mark.parametrize("heads", [ONE_STEP, SEVERAL], ids=["one step", "several"])


def keys(heads: str = ONE_STEP, writes: int = 3, reads: int = 4) -> KeyHeads:
    memory = Memory(cells=64, heads=heads, writes=writes, reads=reads)
    return KeyHeads(memory.heads, 5, memory, dtype=torch.float64)


def normal(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def split(made: KeyHeads, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The steps of x behind the window of the heads, and the window."""
    return x[:, made.window :], x[:, : made.window]


def addresses(
    made: KeyHeads, x: torch.Tensor, before: torch.Tensor, reset: torch.Tensor | None = None
) -> tuple[Address, Address]:
    found = made(x, before, reset)
    assert found.query == found.key == ()
    return found.write.padded(), found.read.padded()


@both_kinds
@pytest.mark.parametrize(("writes", "reads"), [(4, 4), (1, 4), (4, 1)], ids=str)
def test_a_key_is_read_where_it_was_written(heads: str, writes: int, reads: int) -> None:
    """A head writes at the address of `write_after` steps before: where it read then."""
    made = keys(heads, writes, reads)
    x = normal(2, made.window + 9, 5)
    write, read = addresses(made, *split(made, x))
    for h, after in enumerate(made.write_after):
        same = min(made.writes[h], made.reads[h])
        written, found = write.index[:, after:, h, :same], read.index[:, : 9 - after, h, :same]
        assert torch.equal(written, found)
    # The same key reads the same cells, wherever it stands.
    x[:, -3:] = x[:, -8:-5]
    _, read = addresses(made, *split(made, x))
    assert torch.equal(read.index[:, 8], read.index[:, 3])
    torch.testing.assert_close(read.weight[:, 8], read.weight[:, 3], rtol=0, atol=1e-12)


def test_a_key_is_its_steps_in_their_order_and_nothing_else() -> None:
    """One head each for the last input, the two before it, and the last three."""
    made = keys("key key:2:skip=1 key:3")
    x = normal(1, made.window + 9, 5)

    def read(x: torch.Tensor) -> torch.Tensor:
        return made(*split(made, x), None).read.weight[0, -1]

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
    """Exact keys read as many cells as they write, learned keys write a quarter."""
    made = keys("key key:write_after=2 learned", writes=3, reads=4)
    write, read = addresses(made, normal(2, 7, 5), made.start(2))
    assert write.index.shape == write.weight.shape == (2, 7, 3, 3)
    assert read.index.shape == read.weight.shape == (2, 7, 3, 4)
    assert torch.equal(read.index[:, :, :2, 3], torch.full((2, 7, 2), -1))
    assert not read.weight[:, :, :2, 3].any()
    assert torch.equal(write.index[:, :, 2, 1:], torch.full((2, 7, 2), -1))
    assert not write.weight[:, :, 2, 1:].any()
    numbers = [(write, h, n) for h, n in enumerate((3, 3, 1))]
    numbers += [(read, h, n) for h, n in enumerate((3, 3, 4))]
    for address, head, number in numbers:
        index, weight = (v[:, :, head, :number] for v in (address.index, address.weight))
        assert (weight[..., :-1] >= weight[..., 1:]).all()  # the nearest first
        assert all(len(set(i.tolist())) == number for i in index.flatten(0, 1))
    assert torch.equal(write.weight[..., 0], torch.ones_like(write.weight[..., 0]))
    torch.testing.assert_close(read.weight.sum(-1), torch.ones(2, 7, 3, dtype=torch.float64))


@both_kinds
def test_a_window_does_not_reach_over_a_reset(heads: str) -> None:
    made, x = keys(heads), normal(1, 12, 5)
    reset = torch.tensor([[False, False, True, False, False, True, False]])
    write, read = addresses(made, x[:, 5:], x[:, 5 - made.window : 5], reset)
    expected_write, expected_read = addresses(made, x[:, 7:10], made.start(1))
    assert torch.equal(write.index[:, 2:5], expected_write.index)
    assert torch.equal(read.index[:, 2:5], expected_read.index)
    torch.testing.assert_close(write.weight[:, 2:5], expected_write.weight, rtol=0, atol=1e-12)


def test_key_heads_train_their_sharpness_alone() -> None:
    made = keys(ONE_STEP)
    assert [name for name, _ in made.named_parameters()] == ["sharpness"]
    write, read = addresses(made, normal(2, 7, 5), made.start(2))
    ((write.weight**2).sum() + (read.weight**2).sum()).backward()
    assert made.sharpness.grad.abs().min() > 0


@every_path
@both_kinds
def test_the_hash_passes_no_gradient_on(path: str, heads: str) -> None:
    made = keys(heads.replace("key", "learned"))
    assert {name for name, _ in made.named_parameters()} == {"sharpness", "projection"}
    x, before = (normal(2, steps, 5).requires_grad_() for steps in (7, made.window))
    with native.use(path):
        write, read = addresses(made, x, before)
        ((write.weight**2).sum() + (read.weight**2).sum()).backward()
    for leaf in (x, before, made.projection):
        assert leaf.grad is None


@every_path
@pytest.mark.parametrize("heads", [KINDS, SEVERAL], ids=["one step", "several"])
def test_unit_keys(path: str, heads: str) -> None:
    """The key of a write is the query of `write_after` steps before, zero across a reset."""
    made = keys(heads)
    fixed = sum(type(head) is Key for head in made.heads)
    x, before = (normal(2, steps, 5).requires_grad_() for steps in (9, made.window))
    reset = torch.tensor([[False] * 9, [False, False, True] + [False] * 6])
    with native.use(path):
        found = made(x, before, reset, unit_keys=True)
        usual = made(x, before, reset)
    assert torch.equal(found.write.index, usual.write.index)
    assert torch.equal(found.read.weight, usual.read.weight)
    query, key = (torch.cat(each, dim=2) for each in (found.query, found.key))
    assert query.shape == key.shape == (2, 9, len(made.heads), CODE)
    torch.testing.assert_close(query[0].square().mean(-1), torch.ones(9, len(made.heads)).double())
    for h, after in enumerate(made.write_after):
        assert torch.equal(key[0, after:, h], query[0, : 9 - after, h])
        assert torch.equal(key[1, 2 + after :, h], query[1, 2 : 9 - after, h])
        assert not key[1, 2 : 2 + after, h].any()
    loss = (query[:, :, :fixed].sin() + key[:, :, :fixed].sin()).sum()
    assert not torch.autograd.grad(loss, [x, before], retain_graph=True, materialize_grads=True)[
        0
    ].any()
    loss = (query[:, :, fixed:].sin() + key[:, :, fixed:].sin()).sum()
    leaves = [x, before, made.projection]
    grads = torch.autograd.grad(loss, leaves)
    assert all(g.any() for g in grads)
    with native.use(native.PORTABLE):
        again = made(x, before, reset, unit_keys=True)
    loss = (again.query[-1].sin() + again.key[-1].sin()).sum()
    for a, b in zip(grads, torch.autograd.grad(loss, leaves), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("name", ["features", "phases", "codes"])
def test_changed_buffers_are_seen(name: str) -> None:
    """However a buffer changes, in place or by another one, the next call uses its new numbers."""
    made, x = keys(KINDS), normal(2, 10, 5)

    def found(made: KeyHeads) -> torch.Tensor:
        return addresses(made, *split(made, x))[1].index

    def fresh() -> torch.Tensor:
        other = keys(KINDS)
        other.load_state_dict(made.state_dict())
        return found(other)

    buffer = getattr(made, name)
    seen = [found(made)]
    with torch.no_grad():
        buffer.normal_()
    seen.append(found(made))
    assert torch.equal(seen[-1], fresh())
    buffer.data = torch.randn_like(buffer)
    seen.append(found(made))
    assert torch.equal(seen[-1], fresh())
    setattr(made, name, torch.randn_like(buffer))
    seen.append(found(made))
    assert torch.equal(seen[-1], fresh())
    assert all(not torch.equal(a, b) for a, b in itertools.pairwise(seen))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("heads", [KINDS, SEVERAL], ids=["one step", "several"])
def test_the_scale_of_inputs_does_not_count(heads: str, dtype: torch.dtype) -> None:
    memory = Memory(heads=heads)
    made = KeyHeads(memory.heads, 32, memory, dtype=dtype)
    x, before = torch.randn(4, 64, 32, dtype=dtype), torch.randn(4, made.window, 32, dtype=dtype)
    write, read = addresses(made, x, before)
    for scale in (0.05, 20, 1e-18, 1e18):
        for found, usual in zip(addresses(made, scale * x, scale * before), (write, read)):
            same = (found.index == usual.index).all(-1)
            assert same.double().mean() > 0.995  # but for ties within rounding
            torch.testing.assert_close(found.weight[same], usual.weight[same])


def test_a_layer_addresses_the_same_cells_at_any_scale_of_its_input() -> None:
    memory = Memory(heads="key:2 key learned learned:2:write_after=1")
    layer, x = RAMGRU(8, 6, batch_first=True, dtype=torch.float64, memory=memory), normal(2, 60, 8)
    (usual,) = trace(layer, x)[1].trace
    for scale in (0.05, 20):
        (found,) = trace(layer, scale * x)[1].trace
        assert torch.equal(found.write_index, usual.write_index)
        assert torch.equal(found.read_index, usual.read_index)
        torch.testing.assert_close(found.write_weight, usual.write_weight)
        assert not torch.allclose(found.candidate, usual.candidate)


@pytest.mark.parametrize("width", [16, 256, 1024])
def test_one_hot_inputs_of_any_width_have_cells_of_their_own(width: int) -> None:
    memory = Memory(cells=2**20, heads="key learned")
    made = KeyHeads(memory.heads, width, memory)
    inputs = torch.eye(width)[torch.randperm(width)[:256]].unsqueeze(0)
    _, read = addresses(made, inputs, made.start(1))
    for cells in read.index[0, :, :, 0].T:
        assert len(cells.unique()) > 0.97 * len(cells)


def test_zero_inputs_have_the_cells_of_the_time_before_the_first_step() -> None:
    made = keys(SEVERAL)
    write, read = addresses(made, torch.zeros(1, 7, 5).double(), made.start(1))
    for address in (write, read):
        assert address.weight.isfinite().all()
        assert torch.equal(address.index, address.index[:, :1].expand_as(address.index))
    for h, number in enumerate(made.writes):
        assert torch.equal(write.index[:, :, h, :number], read.index[:, :, h, :number])
