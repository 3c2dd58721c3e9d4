"""What the Neural Turing Machine and the Differentiable Neural Computer share: a controller beside
a memory, and a loop over steps.

B sequences, T steps, N cells of width W, R heads, H controller units (hidden_size).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.kernels.projection import Projection
from ramgru.keys import without_autocast
from ramgru.lab.peers.base import PeerState
from ramgru.ragged import pieces

EPSILON = 1e-6  # added to squared lengths before the root: a cell of length 1e-6 matches no key


class ExternalMemory(nn.Module):
    """A peer whose steps depend on each other: a loop over `step_of`, in the state's precision.

    Resets and lengths cut the batch into pieces (`ramgru.ragged.pieces`). The pieces run side by
    side, longest first, and leave the loop as they end: padding is never computed, and resets do
    not make a step slower.

    forward(x (B, T, C), state, lengths (B,), reset (B, T)) -> y (B, T, C), the next state. A state
    of None starts fresh. y is zero at the padding.
    """

    input: Projection
    project: Projection

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        raise NotImplementedError

    def initial_state(self, batch_size: int) -> PeerState:
        raise NotImplementedError

    def step_of(self, given: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """given (rows, units), the projected input of one step -> what `project` takes, the next
        state."""
        raise NotImplementedError

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        B, T, _ = x.shape
        state = self.initial_state(B) if state is None else state
        before: list[Tensor] = state.tensors
        # Packed tensors have a row for each step that is computed, in the order of the loop.
        even = lengths is None and reset is None
        cut = None if even else pieces(B, T, lengths, reset)
        packed = x.transpose(0, 1).flatten(0, 1) if cut is None else x.flatten(0, 1)[cut.source]
        given = self.input(packed).to(before[0].dtype)
        with without_autocast(given):
            if given.shape[0] == 0:
                outputs, after = given.new_zeros(0, self.project.in_features), before
            elif cut is None:
                outputs, after = self._loop(given, [B] * T, before)
            else:
                starts = [s[cut.sequence] for s in before]
                if not bool(cut.opens.all()):
                    new = self.initial_state(len(cut.sequence)).tensors
                    starts = [torch.where(_like(cut.opens, s), s, f) for s, f in zip(starts, new)]
                outputs, ends = self._loop(given, cut.batch_sizes.tolist(), starts)
                last, any_step = cut.last.clamp_min(0), cut.last >= 0
                after = [
                    torch.where(_like(any_step, s), end[last], s) for s, end in zip(before, ends)
                ]
        y = self.project(outputs)
        if cut is None:
            y = y.unflatten(0, (T, B)).transpose(0, 1)
        else:
            y = y.new_zeros(B * T, y.shape[1]).index_copy(0, cut.source, y)
            y = y.view(B, T, y.shape[1])
        return y, type(state)(*after)

    def _loop(
        self, given: Tensor, rows: list[int], state: Sequence[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        """The loop over steps. rows: the number of pieces that reach each step."""
        outputs, ended = [], []
        for here in given.split(rows):
            n, before = len(here), len(state[0])
            if n < before:
                parts = [s.split([n, before - n]) for s in state]
                state = [going for going, _ in parts]
                ended.append([end for _, end in parts])
            y, state = self.step_of(here, state)
            outputs.append(y)
        ends = zip(state, *reversed(ended))
        return torch.cat(outputs), [torch.cat(end) for end in ends]


def _like(flag: Tensor, x: Tensor) -> Tensor:
    """flag (rows,) in a shape that broadcasts to x (rows, ...)."""
    return flag.view(-1, *[1] * (x.dim() - 1))


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """gates (B, 4 H) of input, forget, output and candidate, cell (B, H) -> output, cell (B, H)"""
    H = cell.shape[1]
    opened, candidate = gates.split([3 * H, H], dim=1)
    enters, stays, leaves = opened.sigmoid().chunk(3, dim=1)
    cell = torch.addcmul(stays * cell, enters, candidate.tanh())
    return leaves * cell.tanh(), cell


def look_up(keys: Tensor, strength: Tensor, memory: Tensor) -> Tensor:
    """Content-based weights of the cells (B, R, N): softmax(strength · cosine(key, cell)).

    keys (B, R, W), strength (B, R), memory (B, N, W)
    """
    scale = strength * (keys.square().sum(2) + EPSILON).rsqrt()
    length = (memory.square().sum(2) + EPSILON).rsqrt()
    alike = torch.bmm(scale.unsqueeze(2) * keys, memory.mT)
    return (alike * length.unsqueeze(1)).softmax(2)


def erase_and_add(memory: Tensor, weight: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """memory (B, N, W) * prod_r (1 - weight_r erase_r^T) + sum_r weight_r add_r^T

    weight (B, R, N); erase, add (B, R, W)
    """
    weights, erased, added = weight.unsqueeze(3).unbind(1), erase.split(1, 1), add.split(1, 1)
    for w, e in zip(weights[1:], erased[1:]):
        memory = memory * (1 - w * e)
    # M (1 - w e) + w a = M + w (a - e M): two temporary tables instead of four
    memory = memory.addcmul(weights[0], torch.addcmul(added[0], erased[0], memory, value=-1))
    for w, a in zip(weights[1:], added[1:]):
        memory = memory.addcmul(w, a)
    return memory
