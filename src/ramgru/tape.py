"""Tape heads: a position that each step advances or takes back, so lists are copied in order.

A key head finds nothing in an empty step: there is no key. A tape head has a position instead, and
each step moves it, by gates of the input alone:

    p[t] = (1 - jump[t]) p[t-1] + move[t]

The head writes and reads the two cells next to its position, weighted by their distance, so that
the gradient tells which way to move. Moves and jumps that reach 0 and 1 exactly count for ever.

Source: location-based addressing, NTM, arXiv 1410.5401, §3.3.2. There, a shift is a convolution
over all cells; here it is a number, so time is parallel and the cost is independent of the cells.
B sequences, T steps, H tape heads, N cells.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ramgru.config import Memory, Tape
from ramgru.kernels.projection import Projection, projection
from ramgru.kernels.recurrence import linear_scan
from ramgru.keys import Address, without_autocast
from ramgru.ragged import padding_mask

GAIN = 5.0  # scales the logits so that addresses learn five times faster than values
REACH = 1.2  # range of the gates before clamping, so that they reach exactly 0 and 1


class TapeHeads(nn.Module):
    """The addresses of all tape heads of a layer; each head writes and reads at one place.

    Every other head can move forward only, as in a queue, the others both ways, as on a stack.
    Untrained, a head moves on by one cell a step and jumps back by half its position.
    """

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
        self.moves = Projection(input_size, 2 * len(heads), device=device, dtype=dtype)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        weight, bias = self.moves.weight, self.moves.bias
        nn.init.normal_(weight, std=0.1 / GAIN * weight.shape[1] ** -0.5)
        with torch.no_grad():
            bias.zero_()  # halfway back: all steps meet in few cells, and learn to part
            bias[self.num_heads :].fill_(1.2 / GAIN)

    def start(self, batch_size: int) -> Tensor:
        """(B, H) the positions of fresh streams."""
        return self.moves.weight.new_zeros(batch_size, self.num_heads, dtype=torch.float64)

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        position: Tensor,  # (B, H) before the first step
        lengths: Tensor | None,  # (B,)
        reset: Tensor | None,  # (B, T)
    ) -> tuple[Address, Tensor]:
        """-> the address of writes and reads, two cells a step, and the last position (B, H).

        Positions stay unchanged in padding.
        """
        jump, move = self._gates(x)
        keep = 1 - jump
        if reset is not None:
            keep = keep.masked_fill(reset.unsqueeze(-1), 0)
        if lengths is not None:
            pad = padding_mask(lengths, x.shape[1]).unsqueeze(-1)
            keep, move = keep.masked_fill(pad, 1), move.masked_fill(pad, 0)
        positions = linear_scan(keep, move, position.double())
        index, weight = self._cells(positions)
        weight = weight.to(torch.promote_types(x.dtype, torch.float32))
        return Address(index, weight), positions[:, -1]

    def _gates(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """-> jump in [0, 1], move in [0, 1] or [-1, 1], both (B, T, H) float64: counts add up."""
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.moves.weight.to(wide), self.moves.bias.to(wide)
        with without_autocast(x):
            logits = GAIN * projection(x.to(wide), weight, bias)
        jump, move = logits.double().chunk(2, dim=-1)
        jump = (REACH * jump.sigmoid() - (REACH - 1) / 2).clamp(0, 1)
        both_ways = torch.arange(self.num_heads, device=x.device) % 2
        return jump, torch.maximum(REACH * move.tanh(), -both_ways.double()).clamp(max=1)

    def _cells(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """(B, T, H) -> (B, T, H, 2) the cells on both sides, and their nearness, 1 in all."""
        before = position.detach().floor()
        far = (position - before).unsqueeze(-1)
        first = before.long().remainder(self.cells).unsqueeze(-1)
        index = torch.cat([first, (first + 1).remainder(self.cells)], dim=-1)
        return index, torch.cat([1 - far, far], dim=-1)
