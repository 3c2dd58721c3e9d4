"""A large memory of which each step touches a few cells, by product keys and the delta rule.

Sparse reads and writes as in arXiv 1610.09027, but the cells have keys of their own that are learnt
and do not move (product keys, arXiv 1907.05242), and a write corrects what the cells hold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, rms_norm

from ramgru.kernels.projection import Projection, projection
from ramgru.keys import without_autocast
from ramgru.lab.peers.short_convolution import ShortConvolution
from ramgru.lab.peers.sparse_delta_rule import Touch, sparse_delta_rule
from ramgru.ragged import padding_mask

HALVES = 2  # codebooks of a head


@dataclass(frozen=True)
class SparseDeltaState:
    """memory (B, heads, cells, head_size); context (B, 3, channels of the convolution)."""

    memory: Tensor
    context: Tensor

    def detach(self) -> SparseDeltaState:
        """The same values, cut from the graph that made them."""
        return SparseDeltaState(self.memory.detach(), self.context.detach())


class SparseDelta(nn.Module):
    """u = b (v - sum_i a[i] M[i]);  M[i] <- M[i] + a[i] u;  y = W_o sum_i r[i] M[i], every head so,

    the sums over the top_k cells whose keys are most like a query: a at that of what is written, r
    at that of what is read. Weights are the softmax of how alike they are, scaled to length 1: a
    write with b = 1 is read exactly at its own address. Queries and v are W x behind a convolution.

    hidden_size: values of all heads together; None: d_model. Each head has hidden_size / heads of
        them, rounded up
    cells: of each head, a square number; the time of a step grows with its root, that of a call
        with the copy of the memory that it returns
    top_k: cells that a step may change, and that it reads
    key_size: width of a query, of which each half is compared with the codes of one codebook

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `SparseDeltaState`
    """

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        cells: int = 1024,
        top_k: int = 4,
        heads: int = 1,
        key_size: int = 32,
    ) -> None:
        super().__init__()
        if heads < 1:
            raise ValueError(f"heads: expected at least 1, got {heads}")
        if cells < 1 or math.isqrt(cells) ** 2 != cells:
            raise ValueError(f"cells: expected a square number, got {cells}")
        if not 1 <= top_k <= cells:
            raise ValueError(f"top_k: expected 1 to cells = {cells}, got {top_k}")
        if key_size < 2 * HALVES or key_size % HALVES:
            raise ValueError(f"key_size: expected an even number of at least 4, got {key_size}")
        self.cells, self.top_k, self.heads = cells, top_k, heads
        self.codes_each = math.isqrt(cells)
        self.head_size = math.ceil((hidden_size or d_model) / heads)
        self.hidden_size = heads * self.head_size
        self.widths = [heads * key_size, heads * key_size, self.hidden_size]
        self.query = Projection(d_model, heads * key_size)
        self.value = Projection(d_model, self.hidden_size, bias=False)
        self.convolution = ShortConvolution(sum(self.widths))
        # What is written belongs, at first, to the step before it. Started alike, both queries
        # would have to find each other through cells that they share only by chance.
        with torch.no_grad():
            write = self.convolution.taps[:2, : self.widths[0]]
            write.copy_(write.flip(0))
        width = key_size // HALVES
        self.codes = nn.Parameter(torch.randn(heads, HALVES, self.codes_each, width) / width**0.5)
        self.rate = Projection(d_model, heads)
        self.project = Projection(self.hidden_size, d_model, bias=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        return self.heads * self.cells * self.head_size + self.convolution.state_size

    def initial_state(self, batch_size: int) -> SparseDeltaState:
        memory = self.codes.new_zeros(batch_size, self.heads, self.cells, self.head_size)
        return SparseDeltaState(memory, self.convolution.initial_state(batch_size))

    def forward(
        self,
        x: Tensor,
        state: SparseDeltaState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
        donate: bool = False,
    ) -> tuple[Tensor, SparseDeltaState]:
        """donate: the memory given may be overwritten, where no gradient needs it."""
        B, T, _ = x.shape
        state = self.initial_state(B) if state is None else state
        padding = None
        if lengths is not None:
            padding = padding_mask(lengths, T)
            x = x.masked_fill(padding.unsqueeze(-1), 0)
            reset = None if reset is None else reset & ~padding
        value = self.value(x)
        with without_autocast(x):
            wide = self.codes.dtype  # so that rounding does not choose other cells
            query = projection(x.to(wide), self.query.weight, self.query.bias)
            mixed, context = self.convolution(
                torch.cat([query, query, value.to(wide)], dim=2), state.context, lengths, reset
            )
            write, read, value = mixed.split(self.widths, dim=2)
            rate = self.rate(x.to(wide)).sigmoid().mT  # (B, H, T)
            if padding is not None:  # nothing is written
                rate = rate.masked_fill(padding.unsqueeze(1), 0)
            value = value.unflatten(2, (self.heads, self.head_size)).transpose(1, 2)
            touches = self._touch(write), self._touch(read)
            y, memory = sparse_delta_rule(*touches, value, rate, state.memory, reset, donate)
        y = self.project(y.transpose(1, 2).flatten(2).to(x.dtype))
        if padding is not None:
            y = y.masked_fill(padding.unsqueeze(-1), 0)
        return y, SparseDeltaState(memory, context)

    def step_(self, x: Tensor, state: SparseDeltaState) -> tuple[Tensor, SparseDeltaState]:
        """One step of a stream: x (B, C) -> (B, C). The memory is overwritten, not copied."""
        y, state = self(x.unsqueeze(1), state, donate=True)
        return y.squeeze(1), state

    def _touch(self, query: Tensor) -> Touch:
        """query (B, T, heads key_size) -> the top_k cells of each step and head.

        The best sums of a code of each half are among the sums of the best of each half.
        """
        B, T, _ = query.shape
        query = query.view(B, T, self.heads, HALVES, self.codes.shape[3])
        query = rms_norm(query, query.shape[-1:], eps=1e-6)
        score = torch.einsum("bthpa,hpna->bhtpn", query, self.codes)
        best, code = score.topk(min(self.top_k, self.codes_each), dim=-1)  # (B, H, T, 2, k)
        total = (best[..., 0, :, None] + best[..., 1, None, :]).flatten(-2)
        cell = (code[..., 0, :, None] * self.codes_each + code[..., 1, None, :]).flatten(-2)
        top, where = total.topk(self.top_k, dim=-1)
        return Touch(cell.gather(-1, where), normalize(top.softmax(-1), dim=-1))
