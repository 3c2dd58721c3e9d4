"""Differentiable Neural Computer: cells found by content, by free space, and by the order of writes
(Graves et al., Nature 538, 2016; names as in its Methods)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.base import PeerState, at_least_one
from ramgru.lab.peers.external_memory import ExternalMemory, erase_and_add, look_up, lstm

MODES = 3  # a head reads backwards in time, by content, or forwards
TINY = 1e-10  # added to a usage before its logarithm
LEVELS = 2**16  # usages are rounded to so many levels to be sorted


@dataclass(frozen=True)
class DNCState(PeerState):
    """memory (B, N, W); usage (B, N); precedence (B, N), how recently each cell was written;
    link (B, N, N), how far cell i was written right after cell j; writes (B, 1, N) and reads
    (B, heads, N), the last weights; context (B, heads W + hidden_size), the last reads and the
    controller's output; cell (B, hidden_size)"""

    memory: Tensor
    usage: Tensor
    precedence: Tensor
    link: Tensor
    writes: Tensor
    reads: Tensor
    context: Tensor
    cell: Tensor


class DNC(ExternalMemory):
    """An LSTM sees the input and the last reads; one head then writes, and `heads` heads read:

        w = g_w (g_a allocation + (1 - g_a) content(M, k))
        M <- M (1 - w e^T) + w v^T
        r_i = π_i[1] L^T r_i + π_i[2] content(M, k_i) + π_i[3] L r_i

    with `used`, `allocation` and `linked`. The output is W_o [M^T r, h], h that of the LSTM.

    hidden_size: width of the controller; None: d_model
    cells, width: size of the memory
    heads: number of read heads

    The state is a `DNCState`.
    """

    apart: Tensor  # (N, N), 0 on the diagonal and 1 elsewhere

    def __init__(
        self,
        d_model: int,
        hidden_size: int | None = None,
        *,
        cells: int = 32,
        width: int = 16,
        heads: int = 1,
    ) -> None:
        super().__init__()
        at_least_one(cells=cells, width=width, heads=heads)
        self.cells, self.width, self.heads = cells, width, heads
        self.hidden_size = C = hidden_size or d_model
        self.context_size = heads * width + C
        self.input = Projection(d_model, 4 * C)
        self.recurrent = nn.Parameter(torch.empty(self.context_size, 4 * C))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(C), 1 / math.sqrt(C))
        # Keys of the write head and the read heads, written vector; their strengths; erased vector,
        # free gates, allocation gate, write gate; read modes.
        self.sizes = [(heads + 2) * width, heads + 1, width + heads + 2, heads * MODES]
        self.interface = nn.Linear(C, sum(self.sizes))
        self.project = Projection(self.context_size, d_model, bias=False)
        self.register_buffer("apart", 1 - torch.eye(cells), persistent=False)

    @property
    def state_size(self) -> int:
        a_cell = self.cells + self.width + 3 + self.heads  # its links, content and weights
        return self.cells * a_cell + self.context_size + self.hidden_size

    def initial_state(self, batch_size: int) -> DNCState:
        N, zeros = self.cells, self.recurrent.new_zeros
        return DNCState(
            memory=zeros(batch_size, N, self.width),
            usage=zeros(batch_size, N),
            precedence=zeros(batch_size, N),
            link=zeros(batch_size, N, N),
            writes=zeros(batch_size, 1, N),
            reads=zeros(batch_size, self.heads, N),
            context=zeros(batch_size, self.context_size),
            cell=zeros(batch_size, self.hidden_size),
        )

    def step_of(self, given: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """given (B, 4 hidden_size) -> [M^T r, h], the next state"""
        memory, usage, precedence, link, writes, reads, context, cell = state
        R, W = self.heads, self.width
        h, cell = lstm(torch.addmm(given, context, self.recurrent), cell)

        vectors, strengths, gates, modes = self.interface(h).split(self.sizes, dim=1)
        key, keys, add = vectors.unflatten(1, (R + 2, W)).split([1, R, 1], dim=1)
        beta, betas = (1 + softplus(strengths)).split([1, R], dim=1)
        erase, free, allocate, write = gates.sigmoid().split([W, R, 1, 1], dim=1)
        mode = modes.unflatten(1, (R, MODES)).softmax(2)

        usage = used(usage, writes.squeeze(1), free, reads)
        content = look_up(key, beta, memory)
        by_place = allocation(usage).unsqueeze(1)
        writes = write.unsqueeze(2) * torch.lerp(content, by_place, allocate.unsqueeze(2))
        memory = erase_and_add(memory, writes, erase.unsqueeze(1), add)
        link, precedence = linked(link, precedence, writes.squeeze(1), self.apart)

        before, after = torch.bmm(reads, link), torch.bmm(reads, link.mT)
        there = look_up(keys, betas, memory)
        back, stay, on = mode.unsqueeze(2).unbind(3)
        reads = back * before + stay * there + on * after
        output = torch.cat([torch.bmm(reads, memory).flatten(1), h], dim=1)
        return output, (memory, usage, precedence, link, writes, reads, output, cell)


def used(usage: Tensor, writes: Tensor, free: Tensor, reads: Tensor) -> Tensor:
    """u <- (u + w - u w) prod_i (1 - free_i r_i): a write takes a cell, a read may free it.

    usage (B, N), free (B, R); writes (B, N) and reads (B, R, N), of the step before
    """
    usage = torch.addcmul(usage, 1 - usage, writes)
    for kept in (1 - free.unsqueeze(2) * reads).unbind(1):
        usage = usage * kept
    return usage


def allocation(usage: Tensor) -> Tensor:
    """a[i] = (1 - u[i]) prod_j u[j] over all cells j freer than i: (B, N) -> (B, N)

    The product runs over the free list without sorting it. Among cells of equal usage the first is
    freer. Usages that differ by rounding count as equal: whole and split sequences then agree.
    """
    number = torch.arange(usage.shape[1], device=usage.device)
    order = (usage.detach() * LEVELS + 0.5).long() * len(number) + number
    freer = (order.unsqueeze(1) < order.unsqueeze(2)).to(usage.dtype)  # [i, j]: j freer than i
    product = torch.bmm(freer, (usage + TINY).log().unsqueeze(2)).squeeze(2).exp()
    return (1 - usage) * product


def linked(
    link: Tensor, precedence: Tensor, writes: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    """L[i, j] <- (1 - w[i] - w[j]) L[i, j] + w[i] p[j], and then p <- (1 - sum w) p + w

    link (B, N, N), precedence, writes (B, N); apart (N, N) keeps the diagonal at 0
    """
    row, column = writes.unsqueeze(2), writes.unsqueeze(1)
    fresh = torch.baddbmm((1 - row - column) * link, row, precedence.unsqueeze(1))
    rest = 1 - writes.sum(1, keepdim=True)
    return fresh * apart, torch.addcmul(writes, rest, precedence)
