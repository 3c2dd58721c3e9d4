"""The short causal convolution that peers look back with (the shift of H3, arXiv 2212.14052)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramgru.kernels.short_convolution import short_convolution
from ramgru.ragged import last_steps

WIDTH = 4  # taps: a step, and the three before it


class ShortConvolution(nn.Module):
    """y[t] = sum_o taps[o] x[t - o], every channel by its own WIDTH taps.

    forward(x (B, T, C), context (B, WIDTH - 1, C) the steps before, lengths (B,), reset (B, T))
    -> y (B, T, C), the context after it. A window does not reach across a reset, and padding does
    not get into the context.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.taps = nn.Parameter(torch.empty(WIDTH, channels))
        bound = WIDTH**-0.5  # that of nn.Conv1d
        nn.init.uniform_(self.taps, -bound, bound)
        with torch.no_grad():
            self.taps[0] += 1  # a step is mostly itself at first

    @property
    def state_size(self) -> int:
        return self.taps[1:].numel()

    def initial_state(self, batch_size: int) -> Tensor:
        return self.taps.new_zeros(batch_size, *self.taps[1:].shape)

    def forward(
        self, x: Tensor, context: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        x = x.to(self.taps.dtype)  # of a lower precision under autocast
        nothing = torch.zeros_like(x[0, 0]) if x.numel() else x.new_zeros(x.shape[2])
        y = short_convolution((x, context, nothing, self.taps, reset))[0]
        return y, last_steps(x, context, lengths, reset)
