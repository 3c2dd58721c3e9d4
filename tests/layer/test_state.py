"""What a stream carries: plain tensors that can be cut, copied, moved, saved and flattened."""

from __future__ import annotations

import copy
import io
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ramgru import RAMGRU, RAMGRUState

both_kinds = pytest.mark.parametrize("dense", [False, True], ids=["compact", "dense"])
both_ways = pytest.mark.parametrize("controller", ["gru", "mingru"])


def make(**options: Any) -> RAMGRU:
    made = {"memory_size": 64, "num_heads": 2, "top_k": 2, "batch_first": True, **options}
    return RAMGRU(3, 4, 2, dtype=torch.float64, **made)


def used(layer: RAMGRU, dense: bool = False, batch: int = 4) -> RAMGRUState:
    """A state after a few steps, of sequences that used different numbers of cells."""
    lengths = torch.arange(batch)
    x = torch.randn(batch, max(1, batch - 1), 3, dtype=torch.float64)
    return layer(x, layer.initial_state(batch, dense=dense), lengths=lengths)[1]


def same(a: RAMGRUState, b: RAMGRUState) -> bool:
    return torch.equal(a.to_tensor(), b.to_tensor())


@both_kinds
@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (0, [0]),
        (-1, [3]),
        (slice(1, 3), [1, 2]),
        (slice(None, None, 2), [0, 2]),
        (torch.tensor([3, 0, 0]), [3, 0, 0]),
        (torch.tensor([True, False, False, True]), [0, 3]),
        (torch.tensor(2), [2]),
        (np.int64(2), [2]),
    ],
    ids=["first", "last", "slice", "stride", "tensor", "mask", "scalar", "numpy"],
)
def test_index(dense: bool, index: Any, expected: list[int]) -> None:
    layer = make(learn_initial=True)
    state = used(layer, dense)
    part = state[index]
    assert part.batch_size == len(expected)
    assert torch.equal(part.to_tensor(), state.to_tensor()[expected])
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x[expected], part)[0], layer(x, state)[0][expected])


@pytest.mark.parametrize("index", [4, -5])
def test_index_out_of_range(index: int) -> None:
    with pytest.raises(IndexError, match=rf"index: expected a sequence in \[0, 4\), got {index}"):
        used(make())[index]


@both_kinds
def test_detach_and_clone(dense: bool) -> None:
    layer = make(learn_initial=True)
    state = used(layer, dense)
    assert state.hidden.requires_grad
    assert state.memory[0].rows.requires_grad
    detached, cloned = state.detach(), state.clone()
    assert not detached.to_tensor().requires_grad
    assert cloned.to_tensor().requires_grad
    assert same(detached, state)
    before = state.to_tensor()
    with torch.no_grad():
        cloned.hidden.zero_()
        cloned.memory[0].rows.zero_()
    assert torch.equal(state.to_tensor(), before)


@both_kinds
def test_to(dense: bool) -> None:
    state = used(make(learn_initial=True), dense)
    single = state.to(dtype=torch.float32)
    assert single.hidden.dtype == single.memory[1].rows.dtype == torch.float32
    assert single.memory[0].cells.dtype == torch.int64
    torch.testing.assert_close(single.to_tensor(), state.to_tensor().float())
    assert state.to("meta").hidden.is_meta
    assert state.to("meta").memory[0].rows.is_meta


@both_kinds
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "save", "save_weights_only"])
def test_copies(dense: bool, how: str) -> None:
    state = used(make(learn_initial=True), dense).detach()
    if how == "deepcopy":
        twin = copy.deepcopy(state)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(state))
    else:
        file = io.BytesIO()
        torch.save(state, file)
        file.seek(0)
        twin = torch.load(file, weights_only=how == "save_weights_only")
    assert isinstance(twin, RAMGRUState)
    assert same(twin, state)
    assert twin.hidden.data_ptr() != state.hidden.data_ptr()


@both_kinds
@both_ways
@pytest.mark.parametrize("learn", [False, True], ids=["", "learn_initial"])
def test_flat_and_back(dense: bool, controller: str, learn: bool) -> None:
    layer = make(controller=controller, learn_initial=learn)
    state = used(layer, dense)
    flat = state.to_tensor()
    assert flat.shape == (4, layer.state_size)
    back = layer.initial_state(1).from_tensor(flat)
    assert same(back, state)
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    torch.testing.assert_close(layer(x, back)[0], layer(x, state)[0], rtol=0, atol=1e-12)


@pytest.mark.parametrize("window", [1, 4])
def test_flat_layout_is_hidden_context_cells(window: int) -> None:
    layer = make(window=window, offsets=(0,), bidirectional=True)
    state = layer(torch.randn(2, 5, 3, dtype=torch.float64), layer.initial_state(2))[1]
    parts = [state.hidden.transpose(0, 1), *state.context]
    parts += [m.dense().rows for m in state.memory]
    expected = torch.cat([p.flatten(1) for p in parts], dim=1)
    assert torch.equal(state.to_tensor(), expected)
    assert expected.shape[1] == layer.state_size


@pytest.mark.parametrize("shape", [(4, 7), (4,), (2, 4, 7)], ids=str)
def test_flat_of_another_size(shape: tuple[int, ...]) -> None:
    layer = make()
    with pytest.raises(ValueError, match=rf"flat: expected shape \(B, {layer.state_size}\), got"):
        layer.initial_state(1).from_tensor(torch.zeros(shape))


@pytest.mark.parametrize("learn", [False, True], ids=["", "learn_initial"])
def test_initial_state(learn: bool) -> None:
    layer = make(learn_initial=learn)
    state = layer.initial_state(3)
    assert state.batch_size == 3
    assert not state.hidden.any()
    assert not any(c.any() for c in state.context)
    assert all(m.rows.numel() == m.cells.numel() == 0 for m in state.memory)
    dense = layer.initial_state(3, dense=True)
    assert all(m.rows.shape == (3, 2, 64, 2) for m in dense.memory)
    assert same(state, dense)
    assert bool(state.memory[0].dense().rows.any()) == learn
    for m in dense.memory:
        assert torch.equal(m.rows[0], m.fresh_rows())


def tensors_of(state: RAMGRUState) -> list[Tensor]:
    return [state.hidden, *state.context, *(t for m in state.memory for t in (m.cells, m.rows))]


@pytest.mark.parametrize("rule", ["gru", "delta"])
def test_a_large_memory_stays_small(rule: str) -> None:
    """2^20 cells a head cost what was touched: 6 steps of 2 cells here."""
    layer = make(memory_size=2**20, learn_initial=True, write_rule=rule)
    x, state = torch.randn(2, 6, 3, dtype=torch.float64), layer.initial_state(2)
    whole, after = layer(x, state)
    _, state = layer(x[:, :3], state)
    second, state = layer(x[:, 3:], state)
    torch.testing.assert_close(second, whole[:, 3:], rtol=0, atol=1e-12)
    for one in (after, state):
        assert max(m.cells.shape[-1] for m in one.memory) <= 12
        stored = sum(t.untyped_storage().nbytes() for t in tensors_of(one))
        assert stored < 20_000
    assert sum(p.numel() for p in layer.parameters()) < 100_000  # √N, not N


@both_kinds
@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
def test_padding_is_identity_on_the_state(dense: bool, controller: str, rule: str) -> None:
    """Bit for bit, whatever lies in the padding, and resets in it do nothing."""
    layer = make(controller=controller, write_rule=rule, learn_initial=True)
    state = used(layer, dense).detach()
    x = torch.full((4, 3, 3), torch.nan, dtype=torch.float64)
    reset = torch.ones(4, 3, dtype=torch.bool)
    output, after = layer(x, state, lengths=torch.zeros(4, dtype=torch.int64), reset=reset)
    assert not output.any()
    assert same(after, state)
    lengths = torch.tensor([0, 1, 3, 2])
    x = torch.randn(4, 3, 3, dtype=torch.float64)
    _, after = layer(x, state, lengths=lengths)
    assert torch.equal(after[0].to_tensor(), state[0].to_tensor())
    for b in (1, 2, 3):
        _, alone = layer(x[b : b + 1, : lengths[b]], state[b])
        torch.testing.assert_close(after[b].to_tensor(), alone.to_tensor(), rtol=0, atol=1e-12)


@both_kinds
@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
@pytest.mark.parametrize("where", ["input", "hidden", "cells", "context"])
def test_nan_stays_in_its_sequence(dense: bool, controller: str, rule: str, where: str) -> None:
    layer = make(controller=controller, write_rule=rule, learn_initial=True)
    state = used(layer, dense).detach().clone()
    x = torch.randn(4, 5, 3, dtype=torch.float64)
    clean, clean_after = layer(x, state)
    bad = {
        "input": x,
        "hidden": state.hidden.transpose(0, 1),
        "cells": state.memory[0].rows,
        "context": state.context[0],
    }[where]
    bad[3] = torch.nan
    output, after = layer(x, state)
    assert after[3].to_tensor().isnan().any()
    torch.testing.assert_close(output[:3], clean[:3], rtol=0, atol=1e-12)
    torch.testing.assert_close(
        after[:3].to_tensor(), clean_after[:3].to_tensor(), rtol=0, atol=1e-12
    )


@pytest.mark.parametrize("rule", ["gru", "delta"])
@pytest.mark.parametrize("controller", ["gru", "mingru"])
def test_nan_ends_at_a_reset(controller: str, rule: str) -> None:
    layer = make(controller=controller, write_rule=rule, learn_initial=True)
    x = torch.randn(2, 6, 3, dtype=torch.float64)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[0, 3] = True
    clean, clean_after = layer(x, layer.initial_state(2), reset=reset)
    x[0, 1] = torch.nan
    output, after = layer(x, layer.initial_state(2), reset=reset)
    assert output[0, 1:3].isnan().any(-1).all()
    torch.testing.assert_close(output[0, 3:], clean[0, 3:], rtol=0, atol=1e-12)
    torch.testing.assert_close(after.to_tensor(), clean_after.to_tensor(), rtol=0, atol=1e-12)


@both_ways
@pytest.mark.parametrize("rule", ["gru", "delta"])
def test_nan_in_the_padding_reaches_no_gradient(controller: str, rule: str) -> None:
    layer = make(controller=controller, write_rule=rule, bidirectional=True)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    found = []
    for filler in (0.0, torch.nan):
        x[1, 3:] = filler
        output, h_n = layer(x, lengths=torch.tensor([5, 3]))
        found.append(torch.autograd.grad(output.sum() + h_n.sum(), layer.parameters()))
    for clean, dirty in zip(*found):
        assert torch.equal(clean, dirty)


@both_ways
def test_a_donated_state_is_cut_from_the_graph_that_made_it(controller: str) -> None:
    layer = make(controller=controller, memory_size=4)
    x = torch.randn(2, 5, 3, dtype=torch.float64)
    _, state = layer(x, layer.initial_state(2))
    assert state.memory[0].is_dense
    assert state.memory[0].rows.requires_grad
    _, state = layer.step(x[:, 0], state, donate=True)
    assert not state.to_tensor().requires_grad


@pytest.mark.parametrize("batch", [1, 2])
def test_a_donated_state_leaves_the_tensor_that_it_came_from(batch: int) -> None:
    layer = make()
    flat = torch.randn(batch, layer.state_size, dtype=torch.float64)
    before = flat.clone()
    state = layer.initial_state(1).from_tensor(flat)
    layer.step(torch.randn(batch, 3, dtype=torch.float64), state, donate=True)
    assert torch.equal(flat, before)
