"""Neural Turing Machine: heads that find cells by content and by place (arXiv 1410.5401)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.base import PeerState, at_least_one
from ramgru.lab.peers.external_memory import ExternalMemory, erase_and_add, look_up, lstm

CONTROLLERS = ("lstm", "feedforward")
EMPTY = 1e-6  # content of a fresh cell; a small constant learns soonest (arXiv 1807.08518)
SHIFTS = 3  # a head stays, or moves one cell back or on
TINY = 1e-30  # added to a weight before its logarithm


@dataclass(frozen=True)
class NTMState(PeerState):
    """memory (B, cells, width); weights (B, 2 heads, cells), the heads' places, write heads first;
    context (B, …), the last reads (heads width) and, with an LSTM, its output (hidden_size);
    cell (B, hidden_size), of the LSTM"""

    memory: Tensor
    weights: Tensor
    context: Tensor
    cell: Tensor


class NTM(ExternalMemory):
    """A controller sees the input and the last reads; then each head computes its weights (§3.3),

        c = softmax(β cosine(k, M[t-1]))                 by content, (5) and (6)
        w = shift_s(g c + (1 - g) w[t-1])^γ, sum 1       or by the last place, (7) to (9)

    write heads do M[t] = M[t-1] (1 - w e^T) + w a^T, (3) and (4), and read heads return
    r[t] = w^T M[t], (2). The output is W_o [r, h], h that of the controller. All heads compare with
    the memory before the step; 1e-6 is added to a cosine's squared lengths. Heads start at cell 0.

    hidden_size: width of the controller; None: d_model
    cells, width: size of the memory
    heads: number of write heads, and of read heads
    controller: "lstm" or "feedforward"

    The state is an `NTMState`.
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        cells: int = 128,
        width: int = 20,
        heads: int = 1,
        controller: str = "lstm",
    ) -> None:
        super().__init__()
        at_least_one(cells=cells, width=width, heads=heads)
        if controller not in CONTROLLERS:
            raise ValueError(f"controller: expected one of {CONTROLLERS}, got {controller!r}")
        self.cells, self.width, self.heads, self.controller = cells, width, heads, controller
        self.hidden_size = C = hidden_size or d_model
        units, self.kept = (4 * C, C) if controller == "lstm" else (C, 0)  # of the LSTM's output
        self.context_size = heads * width + self.kept
        self.input = Projection(d_model, units)
        self.recurrent = nn.Parameter(torch.empty(self.context_size, units))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(C), 1 / math.sqrt(C))
        # For all heads: keys and added vectors; g and erased vectors; β and γ; s.
        self.sizes = [3 * heads * width, (2 + width) * heads, 4 * heads, 2 * heads * SHIFTS]
        self.interface = nn.Linear(C, sum(self.sizes))
        with torch.no_grad():
            if controller == "lstm":
                self.input.bias[C : 2 * C] += 1  # start with the forget gate open
            # A head that looks half by content at every step forgets its place, and passes no
            # gradient back to it. So heads start by moving on from their place.
            self.interface.bias.split(self.sizes)[1][: 2 * heads] -= 3
        self.project = Projection(heads * width + C, d_model, bias=False)

    @property
    def state_size(self) -> int:
        return self.cells * (self.width + 2 * self.heads) + self.context_size + self.kept

    def initial_state(self, batch_size: int) -> NTMState:
        new = self.recurrent.new_zeros
        memory = new(batch_size, self.cells, self.width).fill_(EMPTY)
        weights = new(batch_size, 2 * self.heads, self.cells)
        weights[..., 0] = 1
        context, cell = new(batch_size, self.context_size), new(batch_size, self.kept)
        return NTMState(memory, weights, context, cell)

    def step_of(self, given: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """given (B, units) -> [r, h], the next state"""
        memory, weights, context, cell = state
        R, W = self.heads, self.width
        units = torch.addmm(given, context, self.recurrent)
        h, cell = lstm(units, cell) if self.controller == "lstm" else (units.tanh(), cell)

        vectors, gates, strengths, shifts = self.interface(h).split(self.sizes, dim=1)
        keys, adds = vectors.tanh().unflatten(1, (3 * R, W)).split([2 * R, R], dim=1)
        mix, erase = gates.sigmoid().split([2 * R, R * W], dim=1)
        beta, gamma = softplus(strengths).chunk(2, dim=1)
        shift = shifts.unflatten(1, (2 * R, SHIFTS)).softmax(2)

        content = look_up(keys, beta, memory)
        weights = torch.lerp(weights, content, mix.unsqueeze(2))
        back, stay, on = shift.unsqueeze(2).unbind(3)
        weights = back * weights.roll(-1, 2) + stay * weights + on * weights.roll(1, 2)
        # w^γ / sum w^γ in a form that never becomes 0 / 0
        weights = ((1 + gamma).unsqueeze(2) * (weights + TINY).log()).softmax(2)

        writes, reads = weights.chunk(2, dim=1)
        memory = erase_and_add(memory, writes, erase.unflatten(1, (R, W)), adds)
        found = torch.bmm(reads, memory).flatten(1)
        output = torch.cat([found, h], dim=1)
        return output, (memory, weights, output if self.controller == "lstm" else found, cell)
