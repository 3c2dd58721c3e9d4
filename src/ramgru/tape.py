"""Tape heads: an address that counts, so that what was read in order is found in order.

A head that looks for a key has nothing to look for in an empty step. A tape head has a position
instead, which every step moves, from what that step reads alone:

    p[t] = (1 - jump[t]) p[t-1] + move[t]

It writes and reads the two cells next to its position, each by how near it is, so that the
gradient tells which way to move. Moves and jumps that reach 0 and 1 count exactly, for ever.

Source: location-based addressing, NTM, arXiv 1410.5401, §3.3.2. There a shift is a convolution over
all cells; here it is a number, time is parallel, and the cost does not depend on the cells.
B sequences, T steps, H tape heads, N cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramgru.kernels.linear_scan import linear_scan
from ramgru.kernels.projection import Projection, projection
from ramgru.keys import Address, without_autocast
from ramgru.ragged import padding_mask

CELLS = 2  # that a position lies between
GAIN = 5.0  # Adam moves every weight equally fast: where things are has to be learned before what
REACH = 1.2  # how far gates would open, were they not cut: so they reach their ends


class TapeHeads(nn.Module):
    """The addresses of heads that stand somewhere and move: they write and read at one place.

    Every other head can move forward only, as in a queue, the others both ways, as on a stack.
    Untrained, a head moves on by one cell a step and jumps back by half its way.
    """

    def __init__(
        self,
        input_size: int,
        num_heads: int,
        memory_size: int,
        top_k: int,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads, self.memory_size, self.top_k = num_heads, memory_size, top_k
        self.moves = Projection(input_size, 2 * num_heads, device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        weight, bias = self.moves.weight, self.moves.bias
        nn.init.normal_(weight, std=0.1 / GAIN * weight.shape[1] ** -0.5)
        with torch.no_grad():
            bias.zero_()  # halfway back: all steps meet in few cells, and learn to part
            bias[self.num_heads :].fill_(1.2 / GAIN)

    def start(self, batch_size: int) -> Tensor:
        """(B, H) where the heads of fresh streams stand."""
        return self.moves.weight.new_zeros(batch_size, self.num_heads, dtype=torch.float64)

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        position: Tensor | None,  # (B, H) before the first step
        lengths: Tensor | None,  # (B,)
        reset: Tensor | None,  # (B, T)
    ) -> tuple[Address, Tensor]:
        """-> where to write and to read, and positions (B, T, H) in float64.

        The address has top_k places, of which those behind the second are no access. Positions
        behind the end of a sequence stay where they were.
        """
        jump, move = self._gates(x)
        keep = 1 - jump
        if reset is not None:
            keep = keep.masked_fill(reset.unsqueeze(-1), 0)
        if lengths is not None:
            pad = padding_mask(lengths, x.shape[1]).unsqueeze(-1)
            keep, move = keep.masked_fill(pad, 1), move.masked_fill(pad, 0)
        position = self.start(x.shape[0]) if position is None else position.double()
        positions = linear_scan(keep, move, position)
        index, weight = self._cells(positions)
        weight = weight.to(torch.promote_types(x.dtype, torch.float32))
        return Address(index, weight), positions

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-> jump in [0, 1] and move in [0, 1] or [-1, 1] (B, T, H), float64: counts add up."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.moves.weight.to(wide), self.moves.bias.to(wide)
        with without_autocast(x):
            logits = GAIN * projection(x.to(wide), weight, bias)
        jump, move = logits.double().chunk(2, dim=-1)
        jump = (REACH * jump.sigmoid() - (REACH - 1) / 2).clamp(0, 1)
        both_ways = torch.arange(self.num_heads, device=x.device) % 2
        return jump, torch.maximum(REACH * move.tanh(), -both_ways.double()).clamp(max=1)

    def _cells(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H) -> (B, T, H, top_k) the cells on both sides, and how near each is, 1 in all."""
        before = position.detach().floor()
        far = (position - before).unsqueeze(-1)
        first = before.long().remainder(self.memory_size).unsqueeze(-1)
        index = torch.cat([first, (first + 1).remainder(self.memory_size)], dim=-1)
        weight = torch.cat([1 - far, far], dim=-1)
        unused = (0, self.top_k - CELLS)
        return nn.functional.pad(index, unused, value=-1), nn.functional.pad(weight, unused)


def beside(keys: Address, tape: Address) -> Address:
    """The addresses of the heads of both kinds, one after the other."""
    return Address(
        torch.cat([keys.index, tape.index], dim=2), torch.cat([keys.weight, tape.weight], dim=2)
    )
