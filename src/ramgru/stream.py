"""`Stream`: sequences that are read step by step, with a state that the stream owns.

B sequences, T steps, I inputs, C = hidden_size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.config import check_int
from ramgru.fast_stream import NativeStream
from ramgru.state import RAMGRUState


class Stream:
    """A batch of running sequences: `RAMGRU.stream` makes it.

    Every call goes on where the last one ended, with the same numbers as one forward pass over the
    whole sequence. Cells are overwritten in place, without gradients: use `RAMGRU.step` and
    `forward` with a state for training.

    >>> layer = RAMGRU(8, 16)
    >>> stream = layer.stream(batch_size=2)
    >>> stream.step(torch.randn(2, 8)).shape
    torch.Size([2, 16])
    """

    def __init__(self, layer: Any, state: RAMGRUState) -> None:
        """layer: a `StepByStep`; state: becomes the stream's own."""
        self.layer, self._state = layer, state

    @property
    def batch_size(self) -> int:
        return self._last.batch_size

    @property
    def state(self) -> RAMGRUState:
        """A copy of the state, which later steps leave as it is."""
        return (self._last if self._native is None else self._native.state()).clone()

    @property
    def _state(self) -> RAMGRUState:
        if self._native is not None:
            self._state = self._native.state()
        return self._last

    @_state.setter
    def _state(self, state: RAMGRUState) -> None:
        self._last = state
        self._native: NativeStream | None = None  # goes on from it

    def __getstate__(self) -> dict[str, Any]:
        """For copies and files, which hold no addresses."""
        return {"layer": self.layer, "_state": self._state}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.layer, self._state = state["layer"], state["_state"]

    def step(self, x: Tensor, *, reset: Tensor | None = None) -> Tensor:
        """One step of every sequence: x (B, I) -> output (B, C).

        reset: (B,) bool, sequences that begin anew before this step
        """
        if self._native is not None and (y := self._native.step(x, reset)) is not None:
            return y
        y, self._state = self.layer.step_(x, self._state, reset=reset)
        self._native = self.layer.native_stream(self._state)
        return y

    @torch.no_grad()
    def read(self, chunk: Tensor, **options: Any) -> Tensor:
        """Many steps at once: a chunk as `RAMGRU.forward` takes it, with its options `lengths`,
        `reset`, `write_index` and `read_index` -> output."""
        y, self._state = self.layer(chunk, self._state, **options)
        return y

    def join(self, other: Stream | RAMGRUState | int) -> None:
        """Add sequences behind those that run: of another stream, of a state, or so many fresh
        ones."""
        if isinstance(other, int):
            check_int("other", other, 0)
            other = self.layer.initial_state(other)
        state = other._state if isinstance(other, Stream) else other
        if not isinstance(state, RAMGRUState):
            raise TypeError(
                f"other: expected a Stream, a RAMGRUState or a number, got {type(state).__name__}"
            )
        self.layer._check_state(state)
        self._state = RAMGRUState.cat([self._state, state]).detach()

    def drop(self, indices: int | Sequence[int] | Tensor) -> RAMGRUState:
        """Take sequences out of the batch, by number -> their states; the others move up."""
        chosen = torch.as_tensor(indices, dtype=torch.int64).reshape(-1)
        size = self.batch_size
        if chosen.numel() and not -size <= int(chosen.min()) <= int(chosen.max()) < size:
            raise IndexError(f"indices: expected sequences in [0, {size}), got {chosen.tolist()}")
        gone = torch.zeros(size, dtype=torch.bool)
        gone[chosen] = True
        device = self._state.hidden.device
        dropped = self._state[chosen.to(device) % max(size, 1)]
        self._state = self._state[(~gone).nonzero().squeeze(1).to(device)]
        return dropped

    def __repr__(self) -> str:
        return f"Stream(batch_size={self.batch_size}, layer={self.layer!r})"
