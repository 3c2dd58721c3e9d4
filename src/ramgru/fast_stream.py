"""The steps of a stream whose state nobody else holds: native calls that are prepared once.

What `fast_step` checks of a state at every step, and the tensors that it makes, stay the same from
step to step. Two sets of tensors take turns as the state before a step and the state after it.
B sequences, I inputs, C hidden units.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from ramgru.fast_step import Part, Plan, begin_anew, plans_for
from ramgru.kernels import native
from ramgru.kernels.dispatch import CPU, are_plain, is_eager
from ramgru.kernels.layer_step import OPERATION, PreparedStep
from ramgru.state import RAMGRUState


class NativeStream:
    """A stream after a native step, as long as nothing but its state changes."""

    def __init__(
        self,
        parts: Callable[[], Sequence[Part]],
        plans: Sequence[Plan],
        state: RAMGRUState,
    ) -> None:
        """parts: of the layer; empty if it does not take native steps any more"""
        self._parts_now, self._parts, self._plans = parts, parts(), plans
        (_, B, C), self._dtype = state.hidden.shape, state.hidden.dtype
        self._isa, self._shape, self._made = native.isa(), (B, self._parts[0].input_size), (B, C)
        # The rows are the stream's own. All else is copied: a step may hand on its input.
        self._states, self._now = [_copy(state), _copy(state)], 0
        self._between = [state.hidden.new_empty(B, C) for _ in plans[1:]]
        self._steps = [
            [
                PreparedStep(
                    plan.constants, B, h, before.rows, before.carried, h_next, after.carried
                )
                for plan, h, before, h_next, after in zip(
                    plans, now.hidden, now.memory, then.hidden, then.memory
                )
            ]
            for now, then in (self._states, reversed(self._states))
        ]

    def step(self, x: Tensor, reset: Tensor | None) -> Tensor | None:
        """x (B, I), reset (B,) -> output (B, C); None if the general path must run, or raise."""
        if (
            not is_eager()
            or not are_plain(x, reset)
            or x.dtype is not self._dtype
            or x.shape != self._shape
            or not x.is_cpu
            or torch.is_autocast_enabled("cpu")
            or native.isa() != self._isa
            or self._parts_now() is not self._parts
            or not all([plan.is_valid(self._dtype) for plan in self._plans])
        ):
            return None
        if reset is not None:
            if reset.dtype is not torch.bool or reset.shape != self._shape[:1] or not reset.is_cpu:
                return None
            if bool(reset.any()):
                self._begin_anew(reset)
        x = x.contiguous()
        memory = x.untyped_storage()  # held: another thread may replace x.data
        output = x.new_empty(self._made)
        inputs = (x, *self._between)
        for step, given, made in zip(self._steps[self._now], inputs, (*self._between, output)):
            step.run(given, made)
        del memory
        self._now = 1 - self._now
        return output

    def state(self) -> RAMGRUState:
        """The state, whose cells alone later steps overwrite."""
        return _copy(self._states[self._now])

    @torch.no_grad()
    def _begin_anew(self, reset: Tensor) -> None:
        now = self._states[self._now]
        then = begin_anew(self._parts, now, reset)
        now.hidden.copy_(then.hidden)
        for memory, fresh in zip(now.memory, then.memory):
            for kind, value in memory.carried.items():
                value.copy_(fresh.carried[kind])


def native_stream(parts: Callable[[], Sequence[Part]], state: RAMGRUState) -> NativeStream | None:
    """Go on from a state that nobody else holds, by the plans of the step that made it; None if it
    was no native one."""
    if torch.is_autocast_enabled("cpu") or OPERATION.choose(state.hidden).path != CPU:
        return None
    found = parts()
    plans = plans_for(found, state) if found else None
    if not plans or any(memory.rows.requires_grad for memory in state.memory):
        return None
    return NativeStream(parts, plans, state)


def _copy(state: RAMGRUState) -> RAMGRUState:
    """The same rows, and all else in contiguous tensors of its own, not of inference mode."""
    with torch.inference_mode(False), torch.no_grad():
        memories = [
            replace(memory, carried={kind: _own(value) for kind, value in memory.carried.items()})
            for memory in state.memory
        ]
        return RAMGRUState(_own(state.hidden), tuple(memories))


def _own(x: Tensor) -> Tensor:
    return x.detach().clone(memory_format=torch.contiguous_format)
