"""The steps of a layer: `RAMGRU.step`, `RAMGRU.stream`, and the steps in place that streams take.

B sequences, I = input_size, C = hidden_size, H heads.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ramgru import fast_step, open_gates
from ramgru.arguments import check_reset, check_state
from ramgru.config import check_int
from ramgru.contract import RecurrentContract
from ramgru.fast_stream import NativeStream, native_stream
from ramgru.state import RAMGRUState
from ramgru.stream import Stream


class StepByStep(RecurrentContract):
    """A recurrent layer with memories, one step at a time."""

    # What the layer itself has:
    memories: Any  # list[RandomAccessMemory]
    initial_state: Any  # batch size -> a fresh RAMGRUState
    _forward: Any  # a sequence, after its layout
    _hooked: Any  # -> whether a step must call the module
    _control: Any  # the controller
    _cached_parts: tuple[Any, list[fast_step.Part]]

    def stream(self, batch_size: int = 1, *, state: RAMGRUState | None = None) -> Stream:
        """`batch_size` sequences that are read step by step, or those of `state`: the fast way to
        run a trained layer. The stream owns its state, a copy."""
        if self.bidirectional:
            raise ValueError("stream: expected one direction, got bidirectional=True")
        check_int("batch_size", batch_size, 0)
        if state is not None:
            self._check_state(state)
        start = self.initial_state(batch_size) if state is None else state.clone()
        return Stream(self, start.detach())

    def step(
        self,
        input: Tensor,
        state: RAMGRUState | None = None,
        *,
        reset: Tensor | None = None,
        write_index: Tensor | None = None,
        read_index: Tensor | None = None,
    ) -> tuple[Tensor, RAMGRUState]:
        """One time step: input (B, I) -> output (B, C) and the next state, with gradients.

        The same numbers as `forward` over the whole sequence; the state given stays as it is. To
        run a trained layer, `stream` is faster. reset (B,) bool; write_index and read_index (B,),
        (B, H) or (B, H, K).
        """
        if state is None and isinstance(input, Tensor) and input.dim() == 2:
            state = self.initial_state(len(input))
        given = reset is not None or write_index is not None or read_index is not None
        if (
            not (given or torch.is_grad_enabled() or self._forward_hooks or self._forward_pre_hooks)
            and not any(map(fast_step.has_own_forward, self.memories))
            and (taken := fast_step.step_(self._parts(), input, state, keep=True)) is not None
        ):
            return taken
        state = self._check_step(input, state)
        if self._hooked():
            return self._step_by_forward(
                input, state, reset=reset, write_index=write_index, read_index=read_index
            )
        if self.training and torch.is_grad_enabled():
            open_gates.begin(self.memories)
        y, _, after = self._forward(
            input.unsqueeze(1), state, None, *map(_one_step, (reset, write_index, read_index))
        )
        assert after is not None
        return y.squeeze(1), after

    def _step_by_forward(
        self, input: Tensor, state: RAMGRUState, **options: Tensor | None
    ) -> tuple[Tensor, RAMGRUState]:
        """`step` by a call of the module, which runs its hooks."""
        time = 1 if self.batch_first else 0
        given = {name: _one_step(value, time) for name, value in options.items()}
        y, after = self(_one_step(input, time), state, **given)
        if isinstance(after, Tensor):
            after = self.initial_state(0).from_tensor(after)
        return y.squeeze(time), after

    def step_(
        self, input: Tensor, state: RAMGRUState, *, reset: Tensor | None = None
    ) -> tuple[Tensor, RAMGRUState]:
        """As `step`, but the cells of `state` are overwritten in place, and no gradient is kept.

        A step that raises leaves all cells as they were.
        """
        if (
            not (self._forward_hooks or self._forward_pre_hooks)
            and (taken := fast_step.step_(self._parts(), input, state, reset)) is not None
        ):
            return taken
        with torch.no_grad():
            if self._hooked() or any(map(fast_step.has_own_forward, self.memories)):
                return self.step(input, state, reset=reset)
            return self._general_step_(input, state, reset)

    def native_stream(self, state: RAMGRUState) -> NativeStream | None:
        """Steps in place that go on from a state that nobody else holds; None if they are not
        native."""
        return native_stream(self._parts_in_place, state)

    def _parts_in_place(self) -> list[fast_step.Part]:
        """`_parts`, or none if `step_` may run other code."""
        own = type(self).step_ is not StepByStep.step_ or "step_" in vars(self)
        return [] if own or self._forward_hooks or self._forward_pre_hooks else self._parts()

    def _general_step_(
        self, input: Tensor, state: RAMGRUState, reset: Tensor | None
    ) -> tuple[Tensor, RAMGRUState]:
        """`step_` for every option, and with an error for every wrong argument."""
        self._check_step(input, state)
        r = _one_step(reset)
        check_reset(r, input.shape[0], 1)
        self.check_hidden(state.hidden, input.shape[0])
        self._check_state(state)
        x = input.unsqueeze(1)
        hidden, memories, undo = [], [], list[Callable[[], Any]]()
        try:
            for n, (memory, weights) in enumerate(zip(self.memories, self.all_weights)):
                y, last = self._control(x, state.hidden[n : n + 1], [weights], None, r)
                x, after = memory.step_(x, y, state.memory[n], r, None, None, undo)
                hidden.append(last)
                memories.append(after)
        except BaseException:
            for bring_back in reversed(undo):
                bring_back()
            raise
        return x.squeeze(1), RAMGRUState(torch.cat(hidden), tuple(memories))

    def _check_step(self, input: Tensor, state: RAMGRUState | None) -> RAMGRUState:
        if self.bidirectional:
            raise ValueError("step: a bidirectional layer needs the end of the sequence first")
        if not isinstance(input, Tensor) or input.dim() != 2:
            got = tuple(input.shape) if isinstance(input, Tensor) else type(input).__name__
            raise ValueError(f"input: expected shape (B, {self.input_size}), got {got}")
        self.check_input(input, None, packed=True)
        state = self.initial_state(input.shape[0]) if state is None else state
        if not isinstance(state, RAMGRUState):
            raise TypeError(f"state: expected a RAMGRUState or None, got {type(state).__name__}")
        return state

    def _check_state(self, state: RAMGRUState) -> None:
        check_state(state, self.initial_state(0))

    def _parts(self) -> list[fast_step.Part]:
        """The layers of the stack as the native step takes them, cached while modules stay."""
        if self.bidirectional:
            return []
        owner, parts = self._cached_parts
        modules = self._modules
        if owner is self._parameters and all(
            part.memory is modules.get(f"memory_l{n}") for n, part in enumerate(parts)
        ):
            return parts
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        own = [name if name in self._weight_names else None for name in names]
        parts = [
            fast_step.Part(
                self.controller,
                self.layer_input_size(layer),
                [None if n is None else (self._parameters, f"{n}_{suffix}") for n in own],
                memory,
            )
            for (layer, suffix), memory in zip(self.directions(), self.memories)
        ]
        self._cached_parts = (self._parameters, parts)
        return parts


def _one_step(x: Any, time: int = 1) -> Any:
    """A tensor of one step as a sequence; the checks tell what else may not be given."""
    return x.unsqueeze(time) if isinstance(x, Tensor) else x
