"""States at rest: 8-bit cells, rounded once, on disk and back."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from ramgru import RAMGRU, Memory, QuantizedState, RAMGRUState
from ramgru.errors import CheckpointError
from ramgru.quantized_state import KIND

MEMORY = Memory(cells=64, heads="key learned lag tape", writes=2, reads=3)


def used(dense: bool = False, **options: object) -> tuple[RAMGRU, RAMGRUState]:
    layer = RAMGRU(3, 4, 2, batch_first=True, memory=MEMORY, **options)
    x = torch.randn(4, 9, 3, dtype=layer.weight_ih_l0.dtype)
    state = layer(x, layer.initial_state(4, dense=dense))[1]
    return layer, state.detach()


def same(a: RAMGRUState, b: RAMGRUState) -> bool:
    return torch.equal(a.to_tensor(), b.to_tensor())


@pytest.mark.parametrize("dense", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_numbers_move_by_half_a_scale_at_most(dense: bool, dtype: torch.dtype) -> None:
    _, state = used(dense, dtype=dtype)
    resting = QuantizedState.of(state)
    back = resting.dequantize()
    for before, after, scale in zip(state.memory, back.memory, resting.scales):
        assert after.rows.dtype == dtype
        assert bool(((after.rows - before.rows).abs() <= 0.501 * scale.to(dtype)).all())
        assert torch.equal(after.cells, before.cells)
        assert all(torch.equal(after.carried[k], v) for k, v in before.carried.items())
    assert torch.equal(back.hidden, state.hidden)


@given(st.integers(0, 10**6), st.sampled_from([1e-38, 1e-20, 1.0, 3.0, 1e20]))
def test_a_second_rounding_changes_no_bit(seed: int, size: float) -> None:
    layer = RAMGRU(3, 4, memory=MEMORY)
    start, generator = layer.initial_state(2, dense=True), torch.Generator().manual_seed(seed)
    rows = torch.randn(start.memory[0].rows.shape, generator=generator) * size
    rows[:, :, ::3] = 0
    state = replace(start, memory=(replace(start.memory[0], rows=rows),))
    once = QuantizedState.of(state).dequantize()
    assert same(QuantizedState.of(once).dequantize(), once)


def test_a_stream_goes_on_from_a_rounded_state_near_its_own_numbers() -> None:
    layer, state = used()
    resting = QuantizedState.of(state)
    assert resting.nbytes < 0.55 * sum(t.nbytes for m in state.memory for t in m)
    x = torch.randn(4, 3)
    exact, near = layer.stream(state=state).step(x), layer.stream(4, state=resting.dequantize())
    torch.testing.assert_close(near.step(x), exact, rtol=0, atol=0.02)


def test_saved_and_loaded(tmp_path: Path) -> None:
    _, state = used(dtype=torch.float64)
    resting = QuantizedState.of(state)
    loaded = QuantizedState.load(resting.save(tmp_path / "resting"))
    assert loaded.dtype == torch.float64
    assert same(loaded.dequantize(), resting.dequantize())
    file = io.BytesIO()
    torch.save(resting, file)
    file.seek(0)
    assert same(torch.load(file, weights_only=True).dequantize(), resting.dequantize())
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        RAMGRUState.load(tmp_path / "resting")
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        QuantizedState.load(state.save(tmp_path / "whole"))


@pytest.mark.parametrize("name", ["memory.0.rows", "scales.1", "hidden"])
def test_tensors_that_do_not_fit_together_are_refused(name: str, tmp_path: Path) -> None:
    path = QuantizedState.of(used()[1]).save(tmp_path / "resting")
    with safetensors.safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        metadata = file.metadata()
    tensors[name] = tensors[name][1:].contiguous()
    safetensors.torch.save_file(tensors, path, metadata)
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        QuantizedState.load(path)


@pytest.mark.parametrize("header", ["[64, 64]", '[64, 64, "torch.int8"]', "[]", "12", "{"])
def test_a_header_without_a_dtype_is_refused(header: str, tmp_path: Path) -> None:
    path = QuantizedState.of(used()[1]).save(tmp_path / "resting")
    with safetensors.safe_open(path, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    safetensors.torch.save_file(tensors, path, {KIND: header})
    with pytest.raises(CheckpointError, match="holds no state that ramgru saved"):
        QuantizedState.load(path)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_cells_that_are_not_finite_are_refused(value: float) -> None:
    _, state = used()
    state.memory[1].rows[0, 0, 0, 0] = value
    with pytest.raises(ValueError, match="expected finite numbers in its cells"):
        QuantizedState.of(state)
