"""Tape heads: queues and stacks, whose positions count, so that lists are copied in order.

A key head finds nothing in an empty step: there is no key. A tape head has positions instead, and
each step moves them, by gates of the input alone, which reach 0 and 1 exactly:

    queue   w[t] = w[t-1] + push[t]                     where it writes
            r[t] = (1 - jump[t]) r[t-1] + pop[t]        where it reads
    stack   w[t] = r[t] = (1 - jump[t]) w[t-1] + push[t] - pop[t]

A step jumps, then pushes and pops. A push writes the stretch of tape that it passes, push[t] long:
each cell as far as it is covered, and none where nothing is pushed. A read sees one cell's length
of tape, from the lower end of the stretch that the read position passes. So a queue reads in the
order of writing, from a jump on, and a stack in the opposite order. Counts are exact for ever.

Sources: location-based addressing, NTM, arXiv 1410.5401, §3.3.2; continuous push and pop, arXiv
1506.02516. There, a step costs as many operations as there are cells; here positions are numbers,
so time is parallel and the cost is independent of the cells.
B sequences, T steps, H tape heads, N cells.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ramgru.config import Memory, Tape
from ramgru.kernels.projection import Projection, projection
from ramgru.kernels.recurrence import linear_scan
from ramgru.keys import Address, without_autocast
from ramgru.ragged import padding_mask

GAIN = 5.0  # scales the logits so that addresses learn five times faster than values
REACH = 1.2  # range of the gates before clamping, so that they reach exactly 0 and 1
START = (0.05, 0.05, 0.1)  # push, jump and pop, untrained: all steps meet in few cells, and part


class TapeHeads(nn.Module):
    """The addresses of all tape heads of a layer: queues, and every other head a stack."""

    def __init__(
        self,
        heads: tuple[Tape, ...],
        input_size: int,
        memory: Memory,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads, self.cells = len(heads), memory.cells
        self.moves = Projection(input_size, 3 * len(heads), device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        weight, bias = self.moves.weight, self.moves.bias
        nn.init.normal_(weight, std=0.1 / GAIN * weight.shape[1] ** -0.5)
        with torch.no_grad():
            for part, gate in zip(bias.chunk(3), START):
                share = (gate + (REACH - 1) / 2) / REACH
                part.fill_(math.log(share / (1 - share)) / GAIN)

    def start(self, batch_size: int) -> Tensor:
        """(B, 2 H) the positions of fresh streams: those of writes, then those of reads."""
        return self.moves.weight.new_zeros(batch_size, 2 * self.num_heads, dtype=torch.float64)

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        position: Tensor,  # (B, 2 H) before the first step
        lengths: Tensor | None,  # (B,)
        reset: Tensor | None,  # (B, T)
    ) -> tuple[Address, Address, Tensor]:
        """-> the addresses of writes and reads, two cells a step, and the last positions (B, 2 H).

        Positions stay unchanged in padding.
        """
        push, jump, pop = self._gates(x)
        pad = None if lengths is None else padding_mask(lengths, x.shape[1]).unsqueeze(-1)
        if pad is not None:
            push, jump, pop = (gate.masked_fill(pad, 0) for gate in (push, jump, pop))
        stack = torch.arange(self.num_heads, device=x.device) % 2 == 1
        keep = torch.cat([1 - jump * stack, 1 - jump], dim=-1)
        if reset is not None:
            anew = reset.unsqueeze(-1)
            keep = keep.masked_fill(anew if pad is None else anew & ~pad, 0)
        net = push - pop
        move = torch.cat([torch.where(stack, net, push), torch.where(stack, net, pop)], dim=-1)
        after = linear_scan(keep, move, position.double())
        begin = after - move  # after the jump, before the move
        write = self._covered(begin[..., : self.num_heads], push, x)
        low = begin[..., self.num_heads :] + (net * stack).clamp(max=0)
        return write, self._covered(low, torch.ones_like(low), x), after[:, -1]

    def _gates(self, x: Tensor) -> tuple[Tensor, ...]:
        """-> push, jump and pop in [0, 1], each (B, T, H) float64: counts add up.

        The gradient passes the clamps, so that a gate that is shut can learn to open.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.moves.weight.to(wide), self.moves.bias.to(wide)
        with without_autocast(x):
            logits = GAIN * projection(x.to(wide), weight, bias)
        gates = REACH * logits.double().sigmoid() - (REACH - 1) / 2
        return (gates + (gates.clamp(0, 1) - gates).detach()).chunk(3, dim=-1)

    def _covered(self, begin: Tensor, length: Tensor, x: Tensor) -> Address:
        """The two cells from `begin` (B, T, H) on, and how much of each the next `length` covers.

        length: (B, T, H), at most 1. x: the input, whose dtype the weights have
        """
        border = begin.detach().floor() + 1
        index = torch.stack([border.long() - 1, border.long()], dim=-1).remainder(self.cells)
        first = torch.minimum(length, border - begin)
        weight = torch.stack([first, length - first], dim=-1)
        return Address(index, weight.to(torch.promote_types(x.dtype, torch.float32)))
