"""Sparse delta memory: a large memory of which each step touches a few cells.

Sparse reads and writes as in arXiv 1610.09027. The cells have learnt keys of their own that do not
move (product keys, arXiv 1907.05242), and writes follow the delta rule.

B sequences, T steps, H heads, N cells, K touched cells a step, D channels, C steps of a chunk.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, rms_norm

from ramgru.kernels.projection import Projection, projection
from ramgru.keys import without_autocast
from ramgru.lab.peers.base import MemoryState, Mixer, Ragged, ShortConvolution, at_least_one

CHUNK = 16  # steps; in longer chunks, comparing cells costs more than the loop saves
HALVES = 2  # codebooks of a head


class Touch(NamedTuple):
    """The cells that each step touches, all different, and their weights; both (B, H, T, K)."""

    cell: Tensor
    weight: Tensor


class SparseDelta(Mixer):
    """u = b (v - sum_i a[i] M[i]);  M[i] <- M[i] + a[i] u;  y = W_o sum_i r[i] M[i], in each head.

    The sums run over the top_k cells whose keys match a query best: a at the write query, r at the
    read query. The weights are a softmax of the matches, scaled to length 1, so that a write with
    b = 1 reads back exactly at its own address. Queries and v are W x behind a convolution.

    hidden_size: values of all heads together; None: d_model
    cells: of each head, a square number. The time of a step grows with its root, that of a call
        also with the copy of the memory that it returns
    top_k: cells that a step may change, and that it reads
    key_size: width of a query; each half of it is compared with one codebook

    The memory of the state is (B, H, N, D).
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
        at_least_one(heads=heads)
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
        self.memory_shape = (heads, cells, self.head_size)
        self.widths = [heads * key_size, heads * key_size, self.hidden_size]
        self.query = Projection(d_model, heads * key_size)
        self.value = Projection(d_model, self.hidden_size, bias=False)
        self.convolution = ShortConvolution(sum(self.widths))
        # The write query starts as the read query of the step before, so that a value is written
        # under its key. If both started alike, they would only share cells by chance.
        with torch.no_grad():
            write = self.convolution.taps[:2, : self.widths[0]]
            write.copy_(write.flip(0))
        width = key_size // HALVES
        self.codes = nn.Parameter(torch.randn(heads, HALVES, self.codes_each, width) / width**0.5)
        self.rate = Projection(d_model, heads)
        self.project = Projection(self.hidden_size, d_model, bias=False)

    def mix(
        self, x: Tensor, state: MemoryState, ragged: Ragged, overwrite: bool = False
    ) -> tuple[Tensor, MemoryState]:
        padding, lengths, reset = ragged
        value = self.value(x)
        with without_autocast(x):
            wide = self.codes.dtype  # a lower precision would choose other cells
            query = projection(x.to(wide), self.query.weight, self.query.bias)
            mixed, context = self.convolution(
                torch.cat([query, query, value.to(wide)], dim=2), state.context, lengths, reset
            )
            write, read, value = mixed.split(self.widths, dim=2)
            rate = self.rate(x.to(wide)).sigmoid().mT  # (B, H, T)
            if padding is not None:  # no write
                rate = rate.masked_fill(padding.unsqueeze(1), 0)
            value = value.unflatten(2, (self.heads, self.head_size)).transpose(1, 2)
            touches = self._touch(write), self._touch(read)
            y, memory = sparse_delta_rule(*touches, value, rate, state.memory, reset, overwrite)
        y = self.project(y.transpose(1, 2).flatten(2).to(x.dtype))
        return y, MemoryState(memory, context)

    def step_(self, x: Tensor, state: MemoryState) -> tuple[Tensor, MemoryState]:
        """One step of a stream: x (B, C) -> y (B, C). The given memory is overwritten, not copied,
        unless a gradient needs it."""
        y, state = self.mix(x.unsqueeze(1), state, Ragged(None, None, None), overwrite=True)
        return y.squeeze(1), state

    def _touch(self, query: Tensor) -> Touch:
        """query (B, T, H key_size) -> the top_k cells of each step and head.

        A cell's score is the sum of a code's score in each half, so the best cells combine the best
        codes of the halves.
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


def sparse_delta_rule(
    write: Touch,
    read: Touch,
    value: Tensor,  # (B, H, T, D)
    rate: Tensor,  # (B, H, T)
    memory: Tensor,  # (B, H, N, D)
    reset: Tensor | None = None,  # (B, T) True at steps that start from an empty memory
    overwrite: bool = False,  # the given memory, unless a gradient needs it
) -> tuple[Tensor, Tensor]:
    """-> y (B, H, T, D), and the memory after the last step.

        u[t] = b[t] (v[t] - sum_k a[t,k] M[i[t,k]]);  M[i[t,k]] += a[t,k] u[t];
        y[t] = sum_k r[t,k] M[j[t,k]]

    The loop over chunks works on a table of the touched rows alone. Within a chunk, a correction
    depends on the table before the chunk and on the earlier corrections of the same cells:
    u[t] + b[t] sum_{s<t} (a[t] · a[s]) u[s] = b[t] (v[t] - a[t] · M), one triangular system.
    """
    B, H, N, D = memory.shape
    T = value.shape[2]
    if value.numel() == 0:
        return value, memory
    memory = memory.to(value.dtype)
    head = torch.arange(B * H, device=value.device).view(B, H, 1, 1) * N
    cells = torch.stack([write.cell + head, read.cell + head])
    touched, row = cells.unique(return_inverse=True)
    table = memory.flatten(0, 2)[touched]
    owner = touched // (H * N)  # the sequence of each row

    outputs = []
    for start in range(0, T, CHUNK):
        chunk = slice(start, start + CHUNK)
        (i, j), a, r = row[..., chunk, :], write.weight[:, :, chunk], read.weight[:, :, chunk]
        found, seen = _gather(table, i, a), _gather(table, j, r)
        between, before = _overlap(i, a, i, a).tril(-1), _overlap(j, r, i, a).tril()
        put = a
        if reset is not None:
            segment = reset[:, chunk].long().cumsum(1)
            first, last = segment == 0, segment == segment[:, -1:]
            same = (segment.unsqueeze(2) == segment.unsqueeze(1)).unsqueeze(1)
            found, seen = (z * first[:, None, :, None] for z in (found, seen))
            between, before = between * same, before * same
            table = table * first[:, -1][owner].unsqueeze(1)
            put = a * last[:, None, :, None]
        b = rate[:, :, chunk].unsqueeze(3)
        u = torch.linalg.solve_triangular(
            b * between, b * (value[:, :, chunk] - found), upper=False, unitriangular=True
        )
        outputs.append(seen + before @ u)
        # A fixed order of additions gives the same bits in every run and on every device.
        table = table.index_put((i,), put.unsqueeze(4) * u.unsqueeze(3), accumulate=True)

    if reset is not None:
        memory = memory * ~reset.any(1)[:, None, None, None]
    flat = memory.flatten(0, 2)
    kept_for_backward = table.requires_grad or flat.requires_grad
    put_in = flat.index_copy_ if overwrite and not kept_for_backward else flat.index_copy
    return torch.cat(outputs, dim=2), put_in(0, touched, table).view(B, H, N, D)


def _gather(table: Tensor, row: Tensor, weight: Tensor) -> Tensor:
    """(rows, D), (B, H, C, K), (B, H, C, K) -> (B, H, C, D), the weighted sum over K."""
    return (weight.unsqueeze(3) @ table[row]).squeeze(3)


def _overlap(row: Tensor, weight: Tensor, other: Tensor, its: Tensor) -> Tensor:
    """(B, H, C, C) the product of step t's weights with those of step s at the same rows."""
    same = row[:, :, :, None, :, None] == other[:, :, None, :, None, :]  # (B, H, t, s, K, K)
    there = torch.where(same, its[:, :, None, :, None, :], 0).sum(5)
    return (weight.unsqueeze(3) * there).sum(4)
