"""Gated DeltaNet: a DeltaNet that also forgets, behind an output gate (arXiv 2412.06464)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import silu, softplus

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.delta_memory import DeltaMemory


class GatedDeltaNet(DeltaMemory):
    """S <- a (I - b k k^T) S + b k v^T;  y = W_o (RMSNorm(S^T q) * SiLU(W_g x)), every head so.

    q, k, v = SiLU(convolution(W x)), q and k of length 1; b = sigmoid(W_b x);
    a = exp(-exp(A) softplus(W_a x + d))

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
        values = self.widths[2]
        self.decay_and_rate = Projection(d_model, 2 * heads, bias=False)
        # The authors draw exp(A) from (0, 16) for their many heads. Of one or two heads most would
        # forget in a few steps, and learn recall later or not at all: here all of them begin at 1.
        # softplus(d) is theirs, spread evenly on a log scale.
        self.log_speed = nn.Parameter(torch.zeros(heads))
        start = torch.empty(heads).uniform_(math.log(1e-3), math.log(1e-1)).exp()
        self.decay_bias = nn.Parameter(start.expm1().log())  # the inverse of softplus
        self.gate = Projection(d_model, values, bias=False)
        self.norm = nn.Parameter(torch.ones(self.value_size))
        self.project = Projection(values, d_model, bias=False)

    def rates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        decay, rate = self.decay_and_rate(x).transpose(1, 2).chunk(2, dim=1)
        speed, bias = self.log_speed.exp().unsqueeze(-1), self.decay_bias.unsqueeze(-1)
        return -speed * softplus(decay + bias), rate.sigmoid()

    def output(self, y: Tensor, x: Tensor) -> Tensor:
        return self.project(y * silu(self.gate(x)))
