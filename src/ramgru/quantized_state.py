"""A state at rest: cells in 8 bits, for streams that wait in memory or in files.

B sequences, H heads, P cells that are stored, D numbers of a cell, its tag included.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from ramgru.state import RAMGRUState, from_named, load_tensors, named, save_tensors

KIND = "ramgru_quantized_state"
MOST = 127  # the largest 8-bit integer that is used: -128 has no counterpart


@dataclass(frozen=True)
class QuantizedState:
    """A `RAMGRUState` whose cells are 8-bit integers with one scale a cell: a quarter of the bytes.

    state   the state with rows (B, H, P, D) in int8; all else is as it was
    scales  for each layer (B, H, P, 1) bfloat16: what one unit of a cell's integers stands for
    dtype   of the rows before

    >>> layer = RAMGRU(8, 16)
    >>> stream = layer.stream(batch_size=2)
    >>> resting = QuantizedState.of(stream.drop([0]))
    >>> stream.join(resting.dequantize())
    """

    state: RAMGRUState
    scales: tuple[Tensor, ...]
    dtype: torch.dtype

    @staticmethod
    def of(state: RAMGRUState) -> QuantizedState:
        """The state in 8 bits, without a trace. A number moves by at most half its cell's scale,
        which is about 1/127 of the cell's largest number; a second rounding changes no bit.

        Raises ValueError: a cell holds inf or nan.
        """
        memory, scales = [], []
        for m in state.detach().memory:
            largest = m.rows.abs().amax(-1, keepdim=True)
            if not bool(largest.isfinite().all()):
                raise ValueError("state: expected finite numbers in its cells, got inf or nan")
            scale, least = (largest / MOST).bfloat16(), torch.finfo(torch.bfloat16).tiny
            scale = scale.where(scale >= least, 0)  # too small for a scale: zeros
            unit = scale.to(m.rows.dtype).clamp_min(least)
            integers = (m.rows / unit).round().clamp(-MOST, MOST).to(torch.int8)
            memory.append(replace(m, rows=integers))
            scales.append(scale)
        dtype = state.memory[0].rows.dtype
        return QuantizedState(RAMGRUState(state.hidden, tuple(memory)), tuple(scales), dtype)

    def dequantize(self) -> RAMGRUState:
        """The state that a layer or a stream goes on from."""
        memory = (
            replace(m, rows=m.rows.to(self.dtype) * scale.to(self.dtype))
            for m, scale in zip(self.state.memory, self.scales, strict=True)
        )
        return RAMGRUState(self.state.hidden, tuple(memory))

    @property
    def nbytes(self) -> int:
        """Bytes of all its tensors."""
        return sum(value.nbytes for value in self._named().values())

    def _named(self) -> dict[str, Tensor]:
        scales = {f"scales.{n}": scale for n, scale in enumerate(self.scales)}
        return {**named(self.state), **scales}

    def save(self, path: str | Path) -> Path:
        """Write it to a safetensors file, which is whole or not there."""
        sizes = [m.memory_size for m in self.state.memory]
        return save_tensors(path, KIND, [*sizes, str(self.dtype)], self._named())

    @staticmethod
    def load(path: str | Path, device: torch.device | str = "cpu") -> QuantizedState:
        """What `save` wrote; nothing in the file is executed.

        Raises CheckpointError: the file is missing, broken, or holds something else.
        """
        return load_tensors(path, KIND, device, _from_named)


def _from_named(tensors: dict[str, Tensor], values: Sequence[object]) -> QuantizedState:
    state = from_named(tensors, values)
    scales = tuple(tensors[f"scales.{n}"] for n in range(len(state.memory)))
    dtypes = {str(dtype): dtype for dtype in (torch.float32, torch.float64)}
    fit = all(
        m.rows.dtype == torch.int8 and scale.shape == (*m.rows.shape[:3], 1)
        for m, scale in zip(state.memory, scales)
    )
    found = [dtypes[value] for value in values if isinstance(value, str) and value in dtypes]
    if not fit or len(found) != 1:
        raise ValueError("its tensors do not fit together")
    return QuantizedState(state, scales, found[0])


# So that `torch.load` reads it as it reads weights.
torch.serialization.add_safe_globals([QuantizedState])
