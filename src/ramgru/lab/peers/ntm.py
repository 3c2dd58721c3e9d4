"""Neural Turing Machine: heads that find cells by content and by place (arXiv 1410.5401)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.external_memory import erase_and_add, look_up, lstm
from ramgru.lab.peers.walk import Walk

CONTROLLERS = ("lstm", "feedforward")
EMPTY = 1e-6  # what cells hold at first: a small constant learns soonest (arXiv 1807.08518)
SHIFTS = 3  # a head stays, or moves one cell on or back
TINY = 1e-30  # added to a weight before its logarithm is taken


@dataclass(frozen=True)
class NTMState:
    """memory (B, cells, width); weights (B, 2 heads, cells) where heads were, those that write
    first; context (B, …), what was read (heads width) and, of an LSTM, its output (hidden_size);
    cell (B, hidden_size), of an LSTM"""

    memory: Tensor
    weights: Tensor
    context: Tensor
    cell: Tensor

    def detach(self) -> NTMState:
        """The same values, cut from the graph that made them."""
        return NTMState(
            self.memory.detach(), self.weights.detach(), self.context.detach(), self.cell.detach()
        )


class NTM(nn.Module):
    """A controller sees the input and what was read before; then every head looks up cells (§3.3),

        c = softmax(β cosine(k, M[t-1]))                 like its key, (5) and (6)
        w = shift_s(g c + (1 - g) w[t-1])^γ, sum 1       or beside those of before, (7) to (9)

    those that write do M[t] = M[t-1] (1 - w e^T) + w a^T, (3) and (4), and those that read find
    r[t] = w^T M[t], (2). The output is W_o [r, h], h that of the controller. All heads look at the
    memory before the step; a cosine's squared lengths have 1e-6 added. Heads begin at cell 0.

    hidden_size: width of the controller; None: d_model
    cells, width: size of the memory
    heads: how many heads write, and how many read
    controller: "lstm" or "feedforward"

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `NTMState`
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
        for name, size in (("cells", cells), ("width", width), ("heads", heads)):
            if size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        if controller not in CONTROLLERS:
            raise ValueError(f"controller: expected one of {CONTROLLERS}, got {controller!r}")
        self.cells, self.width, self.heads, self.controller = cells, width, heads, controller
        self.hidden_size = C = hidden_size or d_model
        units, units_kept = (4 * C, C) if controller == "lstm" else (C, 0)
        self.context_size = heads * width + units_kept
        self.input = Projection(d_model, units)
        self.recurrent = nn.Parameter(torch.empty(self.context_size, units))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(C), 1 / math.sqrt(C))
        # Of all heads: keys and what is added; g and what is erased; β and γ; s.
        self.sizes = [3 * heads * width, (2 + width) * heads, 4 * heads, 2 * heads * SHIFTS]
        self.interface = nn.Linear(C, sum(self.sizes))
        with torch.no_grad():
            if controller == "lstm":
                self.input.bias[C : 2 * C] += 1  # what a cell holds stays, at first
            # A head that looks half by content at every step forgets where it was, and no gradient
            # comes back from there: at first it moves on from its place.
            self.interface.bias.split(self.sizes)[1][: 2 * heads] -= 3
        self.project = Projection(heads * width + C, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        cell = self.hidden_size if self.controller == "lstm" else 0
        return self.cells * (self.width + 2 * self.heads) + self.context_size + cell

    def initial_state(self, batch_size: int) -> NTMState:
        new = self.recurrent.new_zeros
        memory = new(batch_size, self.cells, self.width).fill_(EMPTY)
        weights = new(batch_size, 2 * self.heads, self.cells)
        weights[..., 0] = 1
        cell = new(batch_size, self.hidden_size if self.controller == "lstm" else 0)
        return NTMState(memory, weights, new(batch_size, self.context_size), cell)

    def forward(
        self,
        x: Tensor,
        state: NTMState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, NTMState]:
        B, T, _ = x.shape
        walk = Walk(B, T, lengths, reset)
        state = self.initial_state(B) if state is None else state
        outputs, after = walk.run(
            self._step,
            self.input(walk.pack(x)),
            _tensors(state),
            lambda rows: _tensors(self.initial_state(rows)),
            self.project.in_features,
        )
        return walk.unpack(self.project(outputs)), NTMState(*after)

    def _step(self, given: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """given (B, units), what the controller takes from the input -> [r, h] and the state."""
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
        # w^γ / sum w^γ, which cannot become 0 / 0 in this form
        weights = ((1 + gamma).unsqueeze(2) * (weights + TINY).log()).softmax(2)

        writes, reads = weights.chunk(2, dim=1)
        memory = erase_and_add(memory, writes, erase.unflatten(1, (R, W)), adds)
        found = torch.bmm(reads, memory).flatten(1)
        output = torch.cat([found, h], dim=1)
        return output, (memory, weights, output if self.controller == "lstm" else found, cell)


def _tensors(state: NTMState) -> tuple[Tensor, ...]:
    return state.memory, state.weights, state.context, state.cell
