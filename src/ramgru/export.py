"""Layers and models for programs that run elsewhere: a step, or a sequence, of plain tensors.

B sequences, T steps, I inputs, C = hidden_size, L layers times directions, V tokens.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.layer import RAMGRU
from ramgru.state import MemoryState, RAMGRUState

Batch = torch.export.Dim.AUTO
_is_alias: Any = getattr(torch._C, "_is_alias_of")  # noqa: B009, not in the stubs


class Step(nn.Module):
    """One step of a stream of a `RAMGRU`, or of a `RAMGRUModel`, for torch.export and torch.onnx.

    forward(x, *state) -> (y, *next state): x (B, I) -> y (B, C), or of a model tokens (B,) int64 ->
    logits (B, V). The state is `start(B)`, plain tensors with the batch first and the rows of all
    cells, so that no shape depends on the past. The same numbers as `RAMGRU.step`.

    in_place: forward(x, *state) -> y, and the tensors of the state become the next state. A program
    then writes a few rows; without, it copies all.

    >>> step = Step(RAMGRU(8, 16, memory=Memory(64)).eval())
    >>> x, state = torch.randn(2, 8), step.start(2)
    >>> y, *state = step(x, *state)
    >>> program = torch.export.export(step, (x, *state), dynamic_shapes=step.dynamic_shapes())
    """

    def __init__(self, module: nn.Module, in_place: bool = False) -> None:
        """module: a `RAMGRU`, of one direction, or a `RAMGRUModel`"""
        super().__init__()
        self.module, self.in_place = module, in_place
        layers: Any = [module] if isinstance(module, RAMGRU) else getattr(module, "layers", [])
        if not layers or not all(isinstance(layer, RAMGRU) for layer in layers):
            raise TypeError(
                f"module: expected a RAMGRU or a RAMGRUModel, got {type(module).__name__}"
            )
        if any(layer.bidirectional for layer in layers):
            raise ValueError("module: expected one direction, got bidirectional=True")
        self.layers: list[RAMGRU] = [*layers]

    def start(self, batch_size: int) -> list[Tensor]:
        """The state of fresh streams."""
        return self._tensors([layer.initial_state(batch_size, dense=True) for layer in self.layers])

    def names(self) -> list[str]:
        """Names of the tensors of the state, for the inputs and outputs of an exported program."""
        names = []
        for n, layer in enumerate(self.layers):
            names.append(f"hidden{n}")
            for k, memory in enumerate(layer.initial_state(0).memory):
                names += [f"memory{n}_{k}_{part}" for part in ("rows", *memory.carried)]
        return names

    def dynamic_shapes(self) -> dict[str, Any]:
        """For torch.export: any batch size."""
        return {"x": {0: Batch}, "state": tuple({0: Batch} for _ in self.names())}

    def forward(self, x: Tensor, *state: Tensor) -> Any:
        before, module = self._states(list(state)), self.module
        if self.in_place:
            return self._step_(x, before, state)
        if isinstance(module, RAMGRU):
            y, after = module.step(x, before[0])
            return (y, *self._tensors([after]))
        y, *tensors = self._sequence(x.unsqueeze(1), before)
        return (y.squeeze(1), *tensors)

    @torch.no_grad()
    def _step_(self, x: Tensor, before: list[RAMGRUState], state: tuple[Tensor, ...]) -> Tensor:
        model: Any = self.module
        if isinstance(model, RAMGRU):
            y, after = model.step_(x, before[0])
            states = [after]
        else:
            hidden, states = model.step(x, before)
            y = model.head(hidden)
        for own, new in zip(state, self._tensors(states), strict=True):
            if not _is_alias(own, new):  # rows are overwritten already
                own.copy_(new)
        return y

    def _sequence(self, x: Tensor, before: list[RAMGRUState]) -> tuple[Tensor, ...]:
        """x (B, T, …) -> outputs (B, T, …) and the tensors of the state after them."""
        model: Any = self.module
        if isinstance(model, RAMGRU):
            y, after = model(x if model.batch_first else x.transpose(0, 1), before[0])
            return (y if model.batch_first else y.transpose(0, 1), *self._tensors([after]))
        hidden, states = model.hidden(x, before)
        return (model.head(hidden), *self._tensors(states))

    def _tensors(self, states: list[RAMGRUState]) -> list[Tensor]:
        tensors = []
        for state in states:
            tensors.append(state.hidden.transpose(0, 1))
            for memory in state.memory:
                tensors += [memory.rows, *memory.carried.values()]
        return tensors

    def _states(self, tensors: list[Tensor]) -> list[RAMGRUState]:
        states, given = [], iter(tensors)
        for layer in self.layers:
            start, hidden = layer.initial_state(0), next(given).transpose(0, 1)

            def filled(memory: MemoryState) -> MemoryState:
                rows = next(given)
                cells = memory.cells.new_empty(*rows.shape[:2], 0)
                carried = {kind: next(given) for kind in memory.carried}
                return replace(memory, cells=cells, rows=rows, carried=carried)

            states.append(RAMGRUState(hidden, tuple(filled(m) for m in start.memory)))
        return states


class Sequence(Step):
    """A chunk of a stream: x (B, T, I) -> y (B, T, C), or tokens (B, T) -> logits (B, T, V), batch
    first; the state is that of `Step`, so that a program may read its start in one call."""

    def __init__(self, module: nn.Module) -> None:
        """module: as in `Step`"""
        super().__init__(module)

    def dynamic_shapes(self) -> dict[str, Any]:
        """For torch.export: any batch size and length."""
        return {**super().dynamic_shapes(), "x": {0: Batch, 1: Batch}}

    def forward(self, x: Tensor, *state: Tensor) -> Any:
        return self._sequence(x, self._states(list(state)))
