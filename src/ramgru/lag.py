"""Lag heads: each reads the candidates of some steps ago; the numbers of steps are learned.

A lag head writes its candidates into a ring, one cell after the other, with gate 1, so that the
cells hold the last R candidates as they are. It has a logit for each lag, and reads the best J:

    y[t] = sum_j w[j] c[t - lag[j]],     w = softmax of the J best logits

The choice of J lags passes no gradient to the others. In backward, the logits receive the gradient
of a read of all lags, which weighs them by the softmax over all of them.

B sequences, T steps, H lag heads, R cells in the ring, J cells read a step, D width of a cell.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from ramgru.config import Lag, Memory
from ramgru.kernels.rows import at_last
from ramgru.keys import Address

GAIN = 30.0  # scales the logits so that lags are learned before the values that they read
NOISE = 0.1  # initial deviation of the scaled logits: no lag is preferred
READS = 2  # lags that a step reads
BLOCK = 128  # steps of one product in `correlation`


class LagHeads(nn.Module):
    """The addresses of all lag heads of a layer. Lag 0 is the candidate of the current step."""

    def __init__(
        self,
        heads: tuple[Lag, ...],
        input_size: int,
        memory: Memory,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.reach = [min(head.reach, memory.cells) for head in heads]
        self.ring = max(self.reach)
        self.reads = min(READS, self.ring)
        self.logits = nn.Parameter(torch.empty(len(heads), self.ring, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.logits, std=NOISE / GAIN)

    def start(self, batch_size: int) -> Tensor:
        """(B, 1) the cell of the ring that fresh streams write first."""
        return torch.zeros(batch_size, 1, dtype=torch.int64, device=self.logits.device)

    def shares(self) -> Tensor:
        """(H, R) the softmax over all lags that a head can have."""
        logits = GAIN * self.logits.to(torch.promote_types(self.logits.dtype, torch.float32))
        if min(self.reach) < self.ring:
            lag = torch.arange(self.ring, device=logits.device)
            reach = torch.tensor(self.reach, device=logits.device).unsqueeze(-1)
            logits = logits.masked_fill(lag >= reach, -torch.inf)
        return logits.softmax(-1)

    def best(self) -> tuple[Tensor, Tensor]:
        """The lags that a step reads, best first, and their weights, both (H, J)."""
        share, lag = self.shares().detach().topk(self.reads)
        return lag, share / share.sum(-1, keepdim=True)

    def step_sources(self) -> list[tuple[dict[str, Any], str]]:
        """Where the tensors lie that `best` is a function of."""
        return [(self._parameters, "logits")]

    def forward(
        self,
        steps: int,
        place: Tensor,  # (B, 1) the cell that the first step writes
        lengths: Tensor | None,  # (B,)
        reset: Tensor | None,  # (B, T) at which the ring begins again
    ) -> tuple[Address, Address, Tensor]:
        """-> the addresses of T writes and reads, and the cell (B, 1) that the next step writes.

        Padding takes no place in the ring.
        """
        lag, weight = self.best()
        time = torch.arange(steps, device=place.device)
        cell = (place + time).remainder(self.ring)  # (B, T)
        if reset is not None:
            begin = at_last(reset, time.expand_as(cell), -1)  # of the segment
            cell = torch.where(begin < 0, cell, (time - begin).remainder(self.ring))
        if lengths is None:
            after = (cell[:, -1:] + 1).remainder(self.ring)
        else:
            lengths = lengths.unsqueeze(-1)
            last = cell.gather(1, (lengths - 1).clamp_min(0))
            after = torch.where(lengths > 0, (last + 1).remainder(self.ring), place)
        shape = (*cell.shape, len(lag))
        cell = cell[..., None, None]
        write = Address(cell.expand(*shape, 1), weight.new_ones(*shape, 1))
        read = Address((cell - lag).remainder(self.ring), weight.expand(*shape, self.reads))
        return write, read, after


class ReadAllLags(torch.autograd.Function):
    """Nothing in forward; in backward, `shares` receive the gradient of a read of all lags."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        y: Tensor,  # (B, T, heads, D or more) the reads of all heads of the layer
        shares: Tensor,  # (H, R)
        candidate: Tensor,  # (B, T, H, D)
        cell: Tensor,  # (B, T, H) of the ring, that each step writes
        held: Tensor | None,  # (B, H, R, D) the ring before the first step; None: as fresh
        fresh: Tensor | None,  # (H, R, D) the ring before any step; None: zeros
        reset: Tensor | None,  # (B, T)
        first: int,  # number of the first lag head
    ) -> Tensor:
        return y.view_as(y)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
        _, *tensors, ctx.first = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Any, ...]:
        shares, candidate, cell, held, fresh, reset = ctx.saved_tensors
        H, R = shares.shape
        if fresh is not None:  # what a cell held before it was written is the same for all lags
            held = None if held is None else held - fresh
            candidate = candidate - fresh[torch.arange(H, device=cell.device), cell]
        seen = candidate.to(shares.dtype)
        if held is not None:
            order = cell[:, 0, :, None] + torch.arange(1, R, device=cell.device)  # oldest first
            past = torch.take_along_dim(held, order.remainder(R).unsqueeze(-1), dim=2)
            seen = torch.cat([past.transpose(1, 2).to(shares.dtype), seen], dim=1)
        mine = dy[:, :, ctx.first : ctx.first + H, : candidate.shape[-1]].to(shares.dtype)
        return dy, correlation(mine, seen, R, reset), *[None] * 6


def correlation(dy: Tensor, seen: Tensor, lags: int, reset: Tensor | None) -> Tensor:
    """-> (H, lags): for each lag the sum of dy[t] · c[t - lag] over all steps.

    dy:    (B, T, H, D)
    seen:  (B, P + T, H, D) the candidates c, P < lags of them before the first step; none before
    reset: (B, T) at which the candidates before are forgotten

    The products of some steps with the candidates in their reach are one product of matrices; a lag
    is a diagonal of it.
    """
    T, before = dy.shape[1], seen.shape[1] - dy.shape[1]
    segment = None
    if reset is not None:
        segment = nn.functional.pad(reset.long().cumsum(1), (before, 0))  # (B, P + T)
    total = dy.new_zeros(dy.shape[2], lags)
    for start in range(0, T, BLOCK):
        n, first = min(BLOCK, T - start), max(0, start + before - lags + 1)
        steps, reach = slice(start, start + n), slice(first, start + before + n)
        now, then = dy[:, steps], seen[:, reach]
        if segment is None:
            pairs = now.permute(2, 1, 0, 3).flatten(2) @ then.permute(2, 0, 3, 1).flatten(1, 2)
        else:
            each = now.transpose(1, 2) @ then.permute(0, 2, 3, 1)  # (B, H, n, candidates)
            same = segment[:, before:][:, steps, None] == segment[:, None, reach]
            pairs = (each * same.unsqueeze(1)).sum(0)
        # Rows one longer than they are: step t's product with the candidate at t - lag is in the
        # column lags - 1 - lag of each.
        missing = lags - 1 - (start + before - first)
        rows = nn.functional.pad(pairs, (missing, 0)).flatten(1)  # (H, n · (lags - 1 + n))
        rows = nn.functional.pad(rows, (0, n)).unflatten(1, (n, lags + n))
        total = total + rows[:, :, :lags].sum(1).flip(-1)
    return total
