"""The layer that people have today: minGRU, with the interface of a `SequenceModel` layer."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MinGRU(nn.Module):
    """One `nn.GRU` layer of `hidden_size`, projected back to d_model where the two differ."""

    def __init__(self, d_model: int, hidden_size: int | None = None) -> None:
        super().__init__()
        self.hidden_size = hidden_size or d_model
        self.gru = nn.GRU(d_model, self.hidden_size, batch_first=True)
        same = self.hidden_size == d_model
        self.project = nn.Identity() if same else nn.Linear(self.hidden_size, d_model, bias=False)

    @property
    def state_size(self) -> int:
        return self.hidden_size

    def initial_state(self, batch_size: int) -> Tensor:
        weight = self.gru.weight_hh_l0
        return torch.zeros(
            1, batch_size, self.hidden_size, dtype=weight.dtype, device=weight.device
        )

    def forward(
        self,
        x: Tensor,
        state: Tensor,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        y, state = self.gru(x, state)
        return self.project(y), state
