"""What the recurrent peers share: one controller of `ramgru.gru`, without a memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ramgru.gru import GATES


class Recurrent(nn.Module):
    """One recurrent layer of `hidden_size`, projected back to d_model where the two differ.

    forward(x (B, T, C), state (1, B, hidden_size), lengths, reset) -> y (B, T, C), state
    """

    controller: ClassVar[str]
    control: ClassVar[Callable[..., Any]]  # what runs it, one of ramgru.gru's

    def __init__(self, d_model: int, hidden_size: int | None = None) -> None:
        super().__init__()
        H = self.hidden_size = hidden_size or d_model
        rows = GATES[self.controller] * H
        self.weight_ih = nn.Parameter(torch.empty(rows, d_model))
        self.bias_ih = nn.Parameter(torch.empty(rows))
        if self.controller == "gru":
            self.weight_hh = nn.Parameter(torch.empty(rows, H))
            self.bias_hh = nn.Parameter(torch.empty(rows))
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -1 / math.sqrt(H), 1 / math.sqrt(H))
        self.project = nn.Identity() if d_model == H else nn.Linear(H, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.hidden_size

    def initial_state(self, batch_size: int) -> Tensor:
        return self.bias_ih.new_zeros(1, batch_size, self.hidden_size)

    def weights(self) -> list[Tensor]:
        if self.controller == "gru":
            return [self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh]
        return [self.weight_ih, self.bias_ih]

    def forward(
        self,
        x: Tensor,
        state: Tensor | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        if state is None:
            state = self.initial_state(x.shape[0])
        if x.shape[1] == 0:  # which torch's kernel refuses
            return x, state
        y, h = self.control(x, state, [self.weights()], lengths, reset)
        return self.project(y), h
