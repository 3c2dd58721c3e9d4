"""LSTM: a cell behind three gates (Hochreiter and Schmidhuber, 1997), run by torch's own kernel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ramgru.ragged import in_pieces


@dataclass(frozen=True)
class LSTMState:
    """hidden, cell (1, B, hidden_size), which `nn.LSTM` calls h and c."""

    hidden: Tensor
    cell: Tensor

    def detach(self) -> LSTMState:
        """The same values, cut from the graph that made them."""
        return LSTMState(self.hidden.detach(), self.cell.detach())


class LSTM(nn.Module):
    """i, f, g, o = gates of (x, h);  c <- f c + i g;  h <- o tanh(c)   (torch.nn.LSTM)

    Weights and biases are named and begun as those of `nn.LSTM`, the forget gate's too. Projected
    back to d_model where hidden_size is another.

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `LSTMState`
    """

    def __init__(self, d_model: int, hidden_size: int | None = None) -> None:
        super().__init__()
        H = self.hidden_size = hidden_size or d_model
        self.weight_ih = nn.Parameter(torch.empty(4 * H, d_model))
        self.weight_hh = nn.Parameter(torch.empty(4 * H, H))
        self.bias_ih = nn.Parameter(torch.empty(4 * H))
        self.bias_hh = nn.Parameter(torch.empty(4 * H))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(H), 1 / math.sqrt(H))
        self.project = nn.Identity() if d_model == H else nn.Linear(H, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return 2 * self.hidden_size

    def initial_state(self, batch_size: int) -> LSTMState:
        nothing = self.bias_ih.new_zeros(1, batch_size, self.hidden_size)
        return LSTMState(nothing, nothing)

    def forward(
        self,
        x: Tensor,
        state: LSTMState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, LSTMState]:
        state = self.initial_state(x.shape[0]) if state is None else state
        if x.shape[1] == 0:  # which torch's kernel refuses
            return x, state
        before = [state.hidden, state.cell]
        if lengths is not None or reset is not None:
            y, after = in_pieces(self._packed, x, before, lengths, reset)
        else:
            y, *after = torch.lstm(x, before, self._weights, True, 1, 0.0, True, False, True)
        # Under autocast the kernel works in a lower precision; what is carried is not cut short.
        return self.project(y), LSTMState(*(z.to(self.bias_ih.dtype) for z in after))

    @property
    def _weights(self) -> list[Tensor]:
        return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]

    def _packed(
        self, steps: Tensor, sizes: Tensor, starts: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        y, *ends = torch.lstm(steps, sizes, starts, self._weights, True, 1, 0.0, True, False)
        return y, ends
