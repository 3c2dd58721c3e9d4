"""Recurrent peers without an external memory: GRU, minGRU and LSTM.

B sequences, T steps, C channels (d_model), H units (hidden_size).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ramgru.gru import GATES, mingru, torch_gru
from ramgru.lab.peers.base import PeerState
from ramgru.ragged import in_pieces

WEIGHTS = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")  # in the order of torch's kernels


class Recurrent(nn.Module):
    """One recurrent layer of `hidden_size` units (None: d_model).

    The output is projected back to d_model if hidden_size differs. Weights are named and
    initialised as those of `nn.GRU` and `nn.LSTM`.

    forward(x (B, T, C), state, lengths (B,), reset (B, T)) -> y (B, T, C), the next state
    """

    gates: ClassVar[int]  # rows of a weight, in units of H
    drawn: ClassVar[tuple[str, ...]] = WEIGHTS  # the layer's weights, in the order of their draws

    def __init__(self, d_model: int, hidden_size: int | None = None) -> None:
        super().__init__()
        H = self.hidden_size = hidden_size or d_model
        shapes = {"weight_ih": (self.gates * H, d_model), "weight_hh": (self.gates * H, H)}
        for name in self.drawn:
            weight = torch.empty(shapes.get(name, (self.gates * H,)))
            nn.init.uniform_(weight, -1 / math.sqrt(H), 1 / math.sqrt(H))
            self.register_parameter(name, nn.Parameter(weight))
        self.project = nn.Identity() if d_model == H else nn.Linear(H, d_model, bias=False)

    @property
    def weights(self) -> list[Tensor]:
        return [getattr(self, name) for name in WEIGHTS if name in self.drawn]

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.hidden_size

    def initial_state(self, batch_size: int) -> Any:
        return self.weights[0].new_zeros(1, batch_size, self.hidden_size)

    def forward(
        self,
        x: Tensor,
        state: Any = None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Any]:
        state = self.initial_state(x.shape[0]) if state is None else state
        if x.shape[1] == 0:  # torch's kernels refuse an empty sequence
            return x, state
        y, state = self.run(x, state, lengths, reset)
        return self.project(y), state

    def run(
        self, x: Tensor, state: Any, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Any]:
        """-> hidden units (B, T, H), the next state"""
        raise NotImplementedError


class GRU(Recurrent):
    """r, z, n = gates of (x, h);  h <- (1 - z) n + z h   (torch.nn.GRU)

    The state is h (1, B, H).
    """

    gates = GATES["gru"]
    drawn = ("weight_ih", "bias_ih", "weight_hh", "bias_hh")

    def run(
        self, x: Tensor, state: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return torch_gru(x, state, [self.weights], lengths, reset)


class MinGRU(Recurrent):
    """z = sigmoid(W_z x), n = W_n x;  h <- (1 - z) h + z n   (arXiv 2410.01201)

    The gates depend on the input alone, so a sequence is a parallel scan. The state is h (1, B, H).
    """

    gates = GATES["mingru"]
    drawn = ("weight_ih", "bias_ih")

    def run(
        self, x: Tensor, state: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        return mingru(x, state, [self.weights], lengths, reset)


@dataclass(frozen=True)
class LSTMState(PeerState):
    """hidden and cell (1, B, H), the h and c of `nn.LSTM`."""

    hidden: Tensor
    cell: Tensor


class LSTM(Recurrent):
    """i, f, g, o = gates of (x, h);  c <- f c + i g;  h <- o tanh(c)   (torch.nn.LSTM)

    A cell behind three gates (Hochreiter and Schmidhuber, 1997). The state is an `LSTMState`.
    """

    gates = 4

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return 2 * self.hidden_size

    def initial_state(self, batch_size: int) -> LSTMState:
        zeros = super().initial_state(batch_size)
        return LSTMState(zeros, zeros)

    def run(
        self, x: Tensor, state: LSTMState, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, LSTMState]:
        if lengths is not None or reset is not None:
            y, after = in_pieces(self._packed, x, state.tensors, lengths, reset)
        else:
            y, *after = torch.lstm(x, state.tensors, self.weights, True, 1, 0.0, True, False, True)
        # Under autocast the kernel lowers the precision; the carried state keeps its own.
        return y, LSTMState(*(z.to(self.weights[0].dtype) for z in after))

    def _packed(
        self, steps: Tensor, sizes: Tensor, starts: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        y, *ends = torch.lstm(steps, sizes, starts, self.weights, True, 1, 0.0, True, False)
        return y, ends
