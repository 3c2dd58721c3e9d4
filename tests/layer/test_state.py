"""The state of a stream: plain tensors that can be cut, joined, copied, moved, saved, flattened."""

from __future__ import annotations

import copy
import io
import pickle
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor

from ramgru import RAMGRU, Memory, RAMGRUState, trace
from ramgru.errors import CheckpointError, RamgruError

both_kinds = pytest.mark.parametrize("dense", [False, True], ids=["compact", "dense"])
every_controller = pytest.mark.parametrize("controller", ["gru", "mingru", "diagonal"])
both_starts = pytest.mark.parametrize("learned", [False, True], ids=["", "learned_start"])
MEMORY = Memory(cells=64, heads="key:2 tape", writes=2, reads=3)


def make(learned: bool = True, cells: int = 64, tag: int = 8, **options: Any) -> RAMGRU:
    memory = replace(MEMORY, cells=cells, tag=tag, learned_start=learned)
    return RAMGRU(3, 4, 2, batch_first=True, dtype=torch.float64, memory=memory, **options)


def normal(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def used(layer: RAMGRU, dense: bool = False, batch: int = 4) -> RAMGRUState:
    """A state after a few steps, of sequences that used different numbers of cells."""
    x = normal(batch, max(1, batch - 1), 3)
    lengths = torch.arange(batch)
    return layer(x, layer.initial_state(batch, dense=dense), lengths=lengths)[1]


def tensors_of(state: RAMGRUState) -> list[Tensor]:
    return [state.hidden, *(tensor for memory in state.memory for tensor in memory)]


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
    layer = make()
    state = used(layer, dense)
    part = state[index]
    assert part.batch_size == len(expected)
    assert torch.equal(part.to_tensor(), state.to_tensor()[:, expected])
    x = normal(4, 3, 3)
    torch.testing.assert_close(layer(x[expected], part)[0], layer(x, state)[0][expected])


@pytest.mark.parametrize("index", [4, -5])
def test_index_out_of_range(index: int) -> None:
    with pytest.raises(IndexError, match=rf"index: expected a sequence in \[0, 4\), got {index}"):
        used(make())[index]


def saved_size(state: RAMGRUState) -> int:
    file = io.BytesIO()
    torch.save(state, file)
    return len(file.getvalue())


@both_kinds
@pytest.mark.parametrize("index", [5, slice(5, 6), torch.tensor([5])], ids=["int", "slice", "list"])
def test_a_session_of_64_is_saved_alone(dense: bool, index: Any) -> None:
    """No byte of another session: its file is no larger than that of the same session run alone."""
    layer, x = make(), normal(64, 9, 3)
    with torch.no_grad():
        _, all_sessions = layer(x, layer.initial_state(64, dense=dense))
        _, session = layer(x[5:6], layer.initial_state(1, dense=dense))
    assert same(all_sessions[index].to(dtype=torch.float32), session.to(dtype=torch.float32))
    assert saved_size(all_sessions[index]) <= saved_size(session)
    stored = sum(t.untyped_storage().nbytes() for t in tensors_of(all_sessions[index]))
    assert stored <= sum(t.numel() * t.element_size() for t in tensors_of(session))


@both_kinds
def test_detach_and_clone(dense: bool) -> None:
    state = used(make(), dense)
    assert state.hidden.requires_grad
    assert state.memory[0].rows.requires_grad
    detached, cloned = state.detach(), state.clone()
    assert not detached.to_tensor().requires_grad
    assert cloned.to_tensor().requires_grad
    assert same(detached, state)
    before = state.to_tensor()
    with torch.no_grad():
        for tensor in tensors_of(cloned):
            tensor.zero_()
    assert torch.equal(state.to_tensor(), before)


@both_kinds
def test_to(dense: bool) -> None:
    state = used(make(), dense)
    single = state.to(dtype=torch.float32)
    assert single.hidden.dtype == single.memory[1].rows.dtype == torch.float32
    assert single.memory[0].cells.dtype == torch.int64
    expected = state.to_tensor().float()
    torch.testing.assert_close(single.to_tensor(), expected, check_dtype=False)
    assert same(state.to(torch.float32), single)
    assert same(state.to("cpu", torch.float32), single)
    assert state.to("meta").hidden.is_meta
    assert state.to("meta").memory[0].rows.is_meta


@both_kinds
@pytest.mark.parametrize("how", ["deepcopy", "pickle", "torch", "weights_only", "safetensors"])
def test_copies(dense: bool, how: str, tmp_path: Path) -> None:
    layer = make()
    state = used(layer, dense).detach()
    path = tmp_path / "state"
    if how == "deepcopy":
        twin = copy.deepcopy(state)
    elif how == "pickle":
        twin = pickle.loads(pickle.dumps(state))
    elif how == "safetensors":
        assert state.save(path) == path
        twin = RAMGRUState.load(path)
        assert sorted(tmp_path.iterdir()) == [path]
    else:
        torch.save(state, path)
        twin = torch.load(path, weights_only=how == "weights_only")
    assert isinstance(twin, RAMGRUState)
    assert same(twin, state)
    assert twin.hidden.data_ptr() != state.hidden.data_ptr()
    x, reset = normal(4, 3, 3), torch.rand(4, 3) < 0.3  # also of the start of cells
    assert torch.equal(layer(x, twin, reset=reset)[0], layer(x, state, reset=reset)[0])


def test_a_saved_state_is_small_and_without_a_trace(tmp_path: Path) -> None:
    layer = make(cells=2**16, tag=0)
    _, state = trace(layer, normal(2, 5, 3))
    path = state.dense().save(tmp_path / "state")
    assert path.stat().st_size < 200_000
    assert RAMGRUState.load(path).trace is None
    assert same(RAMGRUState.load(path), state)


@pytest.mark.parametrize("keep", [0, 4, 100, -8])
def test_a_broken_file_is_refused(keep: int, tmp_path: Path) -> None:
    path = used(make()).save(tmp_path / "state")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        RAMGRUState.load(path)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("memory.0.cells", lambda x: x.masked_fill(x >= 0, 10**6)),
        ("memory.0.cells", lambda x: x - 2),
        ("memory.0.cells", lambda x: x.double()),
        ("memory.0.cells", lambda x: x[:, :, 1:]),
        ("memory.1.rows", lambda x: x[:, :1]),
        ("memory.1.rows", lambda x: x[..., 0]),
        ("memory.1.carried.key", lambda x: x[1:]),
        ("hidden", lambda x: x[:, 1:]),
        ("hidden", lambda x: x[1:]),
        ("hidden", lambda x: x[0]),
    ],
)
def test_tensors_that_do_not_fit_together_are_refused(
    name: str, change: Any, tmp_path: Path
) -> None:
    path = used(make()).save(tmp_path / "state")
    with safetensors.safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors[name] = change(tensors[name]).contiguous()
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        RAMGRUState.load(path)


def test_foreign_and_missing_files_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(make().state_dict(), foreign)
    (tmp_path / "text").write_text("hello", encoding="utf-8")
    torch.save(used(make()), tmp_path / "pickle.pt")
    wrong = [("ramgru_state", "12"), ("ramgru_state", "[64, 64, 64]"), ("ramgru_state", "{")]
    for n, (name, value) in enumerate(wrong):
        tensors = {"hidden": torch.zeros(1, 1, 4)}
        safetensors.torch.save_file(tensors, tmp_path / f"wrong{n}", {name: value})
    for path in [*tmp_path.iterdir(), tmp_path]:
        with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
            RAMGRUState.load(path)
    with pytest.raises(CheckpointError, match="nowhere is missing"):
        RAMGRUState.load(tmp_path / "nowhere")
    with pytest.raises(RamgruError, match=r"cannot write .*: No such file or directory"):
        used(make()).save(tmp_path / "folder" / "state")


@both_kinds
@every_controller
@both_starts
def test_flat_and_back(dense: bool, controller: str, learned: bool) -> None:
    layer = make(learned, controller=controller)
    state = used(layer, dense)
    flat = state.to_tensor()
    assert flat.shape == (2, 4, layer.flat_size)
    back = layer.initial_state(1).from_tensor(flat)
    assert same(back, state)
    x = normal(4, 3, 3)
    torch.testing.assert_close(layer(x, back)[0], layer(x, state)[0], rtol=0, atol=1e-12)


def test_flat_layout_is_hidden_carried_cells() -> None:
    layer = make(bidirectional=True)
    state = layer(normal(2, 5, 3), layer.initial_state(2))[1]
    flat, sizes = state.to_tensor(), []
    for n, memory in enumerate(state.memory):
        carried = [memory.carried[kind].flatten(1) for kind in ("key", "tape")]
        parts = [state.hidden[n], *carried, memory.dense().rows.flatten(1)]
        expected = torch.cat(parts, dim=1)
        sizes.append(expected.shape[1])
        assert torch.equal(flat[n, :, : sizes[-1]], expected)
        assert not flat[n, :, sizes[-1] :].any()
    assert max(sizes) == layer.flat_size == flat.shape[2]
    assert sum(sizes) == layer.state_size


@pytest.mark.parametrize("shape", [(2, 4, 7), (4, 7), (4,), (1, 4, 276)], ids=str)
def test_flat_of_another_size(shape: tuple[int, ...]) -> None:
    layer = make()
    with pytest.raises(ValueError, match=rf"flat: expected shape \(2, B, {layer.flat_size}\), got"):
        layer.initial_state(1).from_tensor(torch.zeros(shape))


@both_starts
def test_initial_state(learned: bool) -> None:
    layer = make(learned)
    state = layer.initial_state(3)
    assert state.batch_size == 3
    assert not state.hidden.any()
    assert not any(value.any() for m in state.memory for value in m.carried.values())
    assert all(m.rows.numel() == m.cells.numel() == 0 for m in state.memory)
    dense = layer.initial_state(3, dense=True)
    assert all(m.rows.shape == (3, 2, 64, 4 + MEMORY.tag) for m in dense.memory)
    assert same(state, dense)
    assert bool(state.memory[0].dense().rows.any()) == learned
    for m in dense.memory:
        assert torch.equal(m.rows[0], m.fresh_rows())


def test_a_learned_start_is_that_of_the_beginning_of_the_stream() -> None:
    """A state kept over an optimizer step gives the same numbers in both forms."""
    layer = make()
    optimizer = torch.optim.SGD(layer.parameters(), lr=1.0)
    state = used(layer).detach()
    dense, before = state.dense(), state.to_tensor()
    layer(normal(4, 5, 3))[0].square().sum().backward()
    fresh = layer.memories[0].fresh_left.clone()
    optimizer.step()
    assert not torch.equal(layer.memories[0].fresh_left, fresh)
    assert torch.equal(state.to_tensor(), before)
    x, reset = normal(4, 6, 3), torch.rand(4, 6) < 0.2
    for options in ({}, {"reset": reset}):
        (y, after), (other, after_dense) = (layer(x, s, **options) for s in (state, dense))
        torch.testing.assert_close(other, y, rtol=0, atol=1e-12)
        torch.testing.assert_close(after_dense.to_tensor(), after.to_tensor(), rtol=0, atol=1e-12)
    one, other = (torch.stack([s.step(now) for now in x.transpose(0, 1)])
                  for s in (layer.stream(state=state), layer.stream(state=dense)))  # fmt: skip
    torch.testing.assert_close(other, one, rtol=0, atol=1e-12)


@pytest.mark.parametrize("kinds", ["compact", "dense", "mixed"])
@both_starts
def test_cat_is_the_inverse_of_indexing(kinds: str, learned: bool) -> None:
    layer = make(learned)
    state = used(layer)
    parts = [state[slice(0, 1)], state[1:3], state[3]]
    if kinds != "compact":
        parts = [p.dense() if kinds == "dense" or n == 1 else p for n, p in enumerate(parts)]
    joined = RAMGRUState.cat(parts)
    assert joined.batch_size == 4
    assert same(joined, state)
    assert all(m.is_dense == (kinds != "compact") for m in joined.memory)
    x = normal(4, 3, 3)
    torch.testing.assert_close(layer(x, joined)[0], layer(x, state)[0], rtol=0, atol=1e-12)
    joined.to_tensor().sum().backward()  # with gradients
    assert layer.weight_ih_l0.grad.any()


def test_cat_of_states_that_began_with_different_starts() -> None:
    """Each goes on with its own start, which compact forms cannot list."""
    layer = make()
    former = used(layer).detach()
    with torch.no_grad():
        layer.memories[0].fresh_left.add_(1)
    later = used(layer).detach()
    joined, x = RAMGRUState.cat([former, later]), normal(8, 3, 3)
    assert torch.equal(joined.to_tensor(), torch.cat([former.to_tensor(), later.to_tensor()], 1))
    expected = torch.cat([layer(x[:4], former)[0], layer(x[4:], later)[0]])
    torch.testing.assert_close(layer(x, joined)[0], expected, rtol=0, atol=1e-12)


def test_cat_of_states_of_other_layers_is_refused() -> None:
    state = used(make())
    one = RAMGRU(3, 4, dtype=torch.float64, memory=MEMORY).initial_state(2)
    other = RAMGRU(3, 4, 2, dtype=torch.float64, memory=Memory(64, "key tape")).initial_state(2)
    for wrong in (one, other, make(cells=128).initial_state(1)):
        with pytest.raises(ValueError, match="states: expected states of one layer"):
            RAMGRUState.cat([state, wrong])
    with pytest.raises(ValueError, match="states: expected at least one state, got none"):
        RAMGRUState.cat([])
    with pytest.raises(TypeError, match="states: expected RAMGRUStates, got Tensor"):
        RAMGRUState.cat([state.hidden])  # type: ignore[list-item]


def test_iteration_gives_hidden_and_memory() -> None:
    state = used(make())
    hidden, memory = state
    assert hidden is state.hidden
    assert memory is state.memory


def repackage_hidden(h: Any) -> Any:
    """Of PyTorch's word-language-model example, to the letter."""
    if isinstance(h, torch.Tensor):
        return h.detach()
    else:
        return tuple(repackage_hidden(v) for v in h)


@both_kinds
def test_repackage_hidden_of_the_word_language_model(dense: bool) -> None:
    layer = make()
    state, x = used(layer, dense), normal(4, 3, 3)
    packed = repackage_hidden(state)
    assert isinstance(packed, tuple)
    y, after = layer(x, packed)
    expected, expected_after = layer(x, state.detach())
    assert torch.equal(y, expected)
    assert isinstance(after, RAMGRUState)
    assert same(after, expected_after)
    (y.sum() + after.to_tensor().sum()).backward()  # not into the graph of `state`
    state.to_tensor().sum().backward()


def test_a_large_memory_stays_small() -> None:
    """2^20 cells a head take the room of the addressed ones: 6 steps of 2 cells here."""
    layer = make(cells=2**20)
    x, state = normal(2, 6, 3), layer.initial_state(2)
    whole, after = layer(x, state)
    _, state = layer(x[:, :3], state)
    second, state = layer(x[:, 3:], state)
    torch.testing.assert_close(second, whole[:, 3:], rtol=0, atol=1e-12)
    for one in (after, state):
        assert max(m.cells.shape[-1] for m in one.memory) <= 12
        rows = [t for m in one.memory for t in (m.cells, m.rows, *m.carried.values())]
        assert sum(t.untyped_storage().nbytes() for t in rows) < 20_000
    assert sum(p.numel() for p in layer.parameters()) < 100_000  # √N, not N


@both_kinds
@every_controller
def test_padding_is_identity_on_the_state(dense: bool, controller: str) -> None:
    """Bit for bit, for any numbers in the padding, and resets in it have no effect."""
    layer = make(controller=controller)
    state = used(layer, dense).detach()
    x = torch.full((4, 3, 3), torch.nan, dtype=torch.float64)
    reset = torch.ones(4, 3, dtype=torch.bool)
    output, after = layer(x, state, lengths=torch.zeros(4, dtype=torch.int64), reset=reset)
    assert not output.any()
    assert same(after, state)
    lengths, x = torch.tensor([0, 1, 3, 2]), normal(4, 3, 3)
    _, after = layer(x, state, lengths=lengths)
    assert torch.equal(after[0].to_tensor(), state[0].to_tensor())
    for b in (1, 2, 3):
        _, alone = layer(x[b : b + 1, : lengths[b]], state[b])
        torch.testing.assert_close(after[b].to_tensor(), alone.to_tensor(), rtol=0, atol=1e-12)


@both_kinds
@every_controller
@pytest.mark.parametrize("where", ["input", "hidden", "cells", "key", "tape"])
def test_nan_stays_in_its_sequence(dense: bool, controller: str, where: str) -> None:
    layer = make(controller=controller)
    state, x = used(layer, dense).detach().clone(), normal(4, 5, 3)
    clean, clean_after = layer(x, state)
    memory = state.memory[0]
    places = {"input": x, "hidden": state.hidden.transpose(0, 1), "cells": memory.rows}
    {**places, **memory.carried}[where][3] = torch.nan
    output, after = layer(x, state)
    assert after[3].to_tensor().isnan().any()
    torch.testing.assert_close(output[:3], clean[:3], rtol=0, atol=1e-12)
    found, expected = after[:3].to_tensor(), clean_after[:3].to_tensor()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-12)


@every_controller
def test_nan_ends_at_a_reset(controller: str) -> None:
    layer, x = make(controller=controller), normal(2, 6, 3)
    reset = torch.zeros(2, 6, dtype=torch.bool)
    reset[0, 3] = True
    clean, clean_after = layer(x, layer.initial_state(2), reset=reset)
    x[0, 1] = torch.nan
    output, after = layer(x, layer.initial_state(2), reset=reset)
    assert output[0, 1:3].isnan().any(-1).all()
    torch.testing.assert_close(output[0, 3:], clean[0, 3:], rtol=0, atol=1e-12)
    torch.testing.assert_close(after.to_tensor(), clean_after.to_tensor(), rtol=0, atol=1e-12)


@every_controller
def test_nan_in_the_padding_reaches_no_gradient(controller: str) -> None:
    layer, x = make(controller=controller, bidirectional=True), normal(2, 5, 3)
    found = []
    for filler in (0.0, torch.nan):
        x[1, 3:] = filler
        output, h_n = layer(x, lengths=torch.tensor([5, 3]))
        found.append(torch.autograd.grad(output.sum() + h_n.sum(), layer.parameters()))
    for clean, dirty in zip(*found):
        assert torch.equal(clean, dirty)


def test_repr_shows_sizes() -> None:
    text = repr(used(make()))
    assert text.startswith("RAMGRUState(batch_size=4, layers=2, hidden_size=4, heads=2, cells=64")
    assert "\n" not in text
