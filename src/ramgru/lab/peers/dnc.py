"""Differentiable Neural Computer: cells looked up by content, by what is free, and in the order in
which they were written (Graves et al., Nature 538, 2016; the names of its Methods)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import softplus

from ramgru.kernels.projection import Projection
from ramgru.lab.peers.external_memory import erase_and_add, look_up, lstm
from ramgru.lab.peers.walk import Walk

MODES = 3  # a head reads backwards in time, by content, or forwards
TINY = 1e-10  # added to a usage before its logarithm is taken
ALIKE = 2**16  # usages are told apart by so many levels


@dataclass(frozen=True)
class DNCState:
    """memory (B, N, W); usage (B, N); precedence (B, N), how much each cell was written last;
    link (B, N, N), how much cell i was written right after cell j; writes (B, 1, N) and reads
    (B, heads, N), the weights of the step before; context (B, heads W + hidden_size), what was read
    and the controller's output; cell (B, hidden_size)"""

    memory: Tensor
    usage: Tensor
    precedence: Tensor
    link: Tensor
    writes: Tensor
    reads: Tensor
    context: Tensor
    cell: Tensor

    def detach(self) -> DNCState:
        """The same values, cut from the graph that made them."""
        return DNCState(*(x.detach() for x in _tensors(self)))


class DNC(nn.Module):
    """An LSTM sees the input and what was read before; one head then writes, and `heads` read:

        w = g_w (g_a allocation + (1 - g_a) content(M, k))
        M <- M (1 - w e^T) + w v^T
        r_i = π_i[1] L^T r_i + π_i[2] content(M, k_i) + π_i[3] L r_i

    see `used`, `allocation` and `linked`. The output is W_o [M^T r, h], h that of the LSTM.

    hidden_size: width of the controller; None: d_model
    cells, width: size of the memory
    heads: how many heads read

    forward(x (B, T, C), state, lengths, reset) -> y (B, T, C), `DNCState`
    """

    apart: Tensor  # (N, N), 0 on the diagonal and 1 beside it

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
        for name, size in (("cells", cells), ("width", width), ("heads", heads)):
            if size < 1:
                raise ValueError(f"{name}: expected at least 1, got {size}")
        self.cells, self.width, self.heads = cells, width, heads
        self.hidden_size = C = hidden_size or d_model
        self.context_size = heads * width + C
        self.input = Projection(d_model, 4 * C)
        self.recurrent = nn.Parameter(torch.empty(self.context_size, 4 * C))
        nn.init.uniform_(self.recurrent, -1 / math.sqrt(C), 1 / math.sqrt(C))
        # Keys of the writing and the reading heads, and what is written; their strengths; what is
        # erased, free gates, allocation gate, write gate; modes.
        self.sizes = [(heads + 2) * width, heads + 1, width + heads + 2, heads * MODES]
        self.interface = nn.Linear(C, sum(self.sizes))
        self.project = Projection(self.context_size, d_model, bias=False)
        self.register_buffer("apart", 1 - torch.eye(cells), persistent=False)

    @property
    def state_size(self) -> int:
        """Floats that one sequence carries from step to step."""
        vectors = self.cells + self.width + 3 + self.heads  # beside the link, of each cell
        return self.cells * vectors + self.context_size + self.hidden_size

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

    def forward(
        self,
        x: Tensor,
        state: DNCState | None,
        *,
        lengths: Tensor | None = None,
        reset: Tensor | None = None,
    ) -> tuple[Tensor, DNCState]:
        B, T, _ = x.shape
        walk = Walk(B, T, lengths, reset)
        state = self.initial_state(B) if state is None else state
        outputs, after = walk.run(
            self._step,
            self.input(walk.pack(x)),
            _tensors(state),
            lambda rows: _tensors(self.initial_state(rows)),
            self.context_size,
        )
        return walk.unpack(self.project(outputs)), DNCState(*after)

    def _step(self, given: Tensor, state: Sequence[Tensor]) -> tuple[Tensor, Sequence[Tensor]]:
        """given (B, 4 hidden_size), what the LSTM takes from the input -> [reads, h], the state."""
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
    """u <- (u + w - u w) prod_i (1 - free_i r_i): what is written is in use, until a read frees it.

    usage, writes (B, N), of the step before; free (B, R), reads (B, R, N), of the step before
    """
    usage = torch.addcmul(usage, 1 - usage, writes)
    for kept in (1 - free.unsqueeze(2) * reads).unbind(1):
        usage = usage * kept
    return usage


def allocation(usage: Tensor) -> Tensor:
    """a[i] = (1 - u[i]) prod_j u[j] over all cells j that are freer than i: (B, N) -> (B, N)

    The product over a sorted list, without sorting it. Of cells in equal use the first is freer:
    equal but for rounding, so that no path through a sequence takes them in another order.
    """
    number = torch.arange(usage.shape[1], device=usage.device)
    order = (usage.detach() * ALIKE + 0.5).long() * len(number) + number
    freer = (order.unsqueeze(1) < order.unsqueeze(2)).to(usage.dtype)  # [i, j]: j freer than i
    product = torch.bmm(freer, (usage + TINY).log().unsqueeze(2)).squeeze(2).exp()
    return (1 - usage) * product


def linked(
    link: Tensor, precedence: Tensor, writes: Tensor, apart: Tensor
) -> tuple[Tensor, Tensor]:
    """L[i, j] <- (1 - w[i] - w[j]) L[i, j] + w[i] p[j], and then p <- (1 - sum w) p + w

    link (B, N, N), precedence, writes (B, N); apart (N, N), which keeps the diagonal at 0
    """
    row, column = writes.unsqueeze(2), writes.unsqueeze(1)
    fresh = torch.baddbmm((1 - row - column) * link, row, precedence.unsqueeze(1))
    rest = 1 - writes.sum(1, keepdim=True)
    return fresh * apart, torch.addcmul(writes, rest, precedence)


def _tensors(state: DNCState) -> tuple[Tensor, ...]:
    return (
        *(state.memory, state.usage, state.precedence, state.link),
        *(state.writes, state.reads, state.context, state.cell),
    )
