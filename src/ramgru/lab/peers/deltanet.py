"""DeltaNet: a matrix of memory a head, that corrects what it holds (arXiv 2406.06484)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.delta_memory import DeltaMemory


class DeltaNet(DeltaMemory):
    """S <- (I - b k k^T) S + b k v^T;  y = W_o RMSNorm(S^T q), every head so.

    q, k, v = SiLU(convolution(W x)), q and k of length 1; b = sigmoid(W_b x)

    hidden_size: keys of all heads together; None: d_model. Each head has hidden_size / heads of
        them, rounded up
    value_size: width of a head's values; None: that of its keys
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        heads: int = 1,
        value_size: int | None = None,
    ) -> None:
        super().__init__(d_model, hidden_size, heads, value_size)
        self.rate = Projection(d_model, heads, bias=False)
        self.norm = nn.Parameter(torch.ones(self.value_size))
        self.project = Projection(self.widths[2], d_model, bias=False)

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        rate = self.rate(x).transpose(1, 2).sigmoid()
        return torch.zeros_like(rate), rate  # no decay: log 1

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return self.project(y)
