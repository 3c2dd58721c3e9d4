"""Tape heads: positions that count, so that lists are read in the order of writing or backwards.

A key head finds nothing in an empty step: there is no key. A tape head has positions instead, and
each step moves them, by gates of the input alone, which reach 0 and 1 exactly:

    w[t] = w[t-1] + push[t]                                      where it writes
    r[t] = (1 - jump[t]) r[t-1] + pop[t]                         where an even head reads
    r[t] = (1 - jump[t]) r[t-1] + jump[t] w[t] - pop[t]          where an odd head reads

A push writes the stretch of tape that it passes, push[t] long: each cell as far as it is covered,
and none where nothing is pushed. A step jumps, then pops, and reads one cell's length of tape from
the lower end of the stretch that it pops. So an even head jumps to the first cell and reads in the
order of writing, and an odd head jumps to the end and reads backwards. Counts are exact for ever.

The gradient of a read's position is that of a wider read, a triangle of `WINDOW` cells on each
side: two neighbours alone say nothing of an item that stands three cells away.

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
from ramgru.kernels.tape import REACH, tape
from ramgru.keys import Address, without_autocast

# Push, jump and pop, untrained: nearly every step has a cell of its own, and reads lag behind.
START = (0.9, 0.2, 0.2)
WINDOW = 3


class TapeHeads(nn.Module):
    """The addresses of all tape heads of a layer; every other one reads backwards."""

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
        nn.init.normal_(weight, std=0.1 * weight.shape[1] ** -0.5)
        with torch.no_grad():
            for part, gate in zip(bias.chunk(3), START):
                share = (gate + (REACH - 1) / 2) / REACH
                part.fill_(math.log(share / (1 - share)))

    def start(self, batch_size: int) -> Tensor:
        """(B, 2 H) the positions of fresh streams: those of writes, then those of reads."""
        shape, device = (batch_size, 2 * self.num_heads), self.moves.weight.device
        return torch.zeros(shape, dtype=torch.float64, device=device)  # also of quantised weights

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        position: Tensor,  # (B, 2 H) before the first step
        lengths: Tensor | None,  # (B,)
        reset: Tensor | None,  # (B, T)
    ) -> tuple[Address, Address, Tensor]:
        """-> the addresses of writes and reads, and the last positions (B, 2 H).

        A step touches two cells; for the gradient, reads name more of them, with weights of 0.
        Positions stay unchanged in padding.
        """
        wide = torch.promote_types(x.dtype, torch.float32)
        weight, bias = self.moves.weight, self.moves.bias
        with without_autocast(x):
            if weight.dtype == wide:  # by a call, which runs hooks that compute the weight
                moves = self.moves(x.to(wide))
            else:
                moves = projection(x.to(wide), weight.to(wide), bias.to(wide))
            window = WINDOW if torch.is_grad_enabled() else 1
            write_index, write_weight, read_index, read_weight, after = tape(
                moves, position.double(), reset, lengths, cells=self.cells, window=window
            )
        return Address(write_index, write_weight), Address(read_index, read_weight), after
