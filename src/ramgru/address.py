"""Where a step reads and writes: product keys over a short window of the layer's input.

Each head scores the cells with U small codebooks instead of one of N rows: the best of each
part, merged two by two, are exactly the best of all N (product keys, arXiv 1907.05242). The address
is a function of the window alone, so that what is read is found where it was written.

B sequences, T steps, H heads, K = top_k, U parts, A address width of one head.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Address:
    """Which cells, and how much of each. index (B, T, H, K) int64, weight (B, T, H, K)."""

    index: Tensor
    weight: Tensor


def factorise(memory_size: int, parts: int) -> tuple[int, ...]:
    """Sizes of the codebooks, nearly equal, whose product is memory_size or the next that fits.

    >>> factorise(65536, 2)
    (256, 256)
    >>> factorise(2048, 2)
    (64, 32)
    """
    if parts == 1:
        return (memory_size,)
    root = max(1, math.ceil(memory_size ** (1 / parts) - 1e-9))
    fits = [n for n in range(root, 2 * root + 1) if memory_size % n == 0]
    first = fits[0] if fits else root
    return (first, *factorise(math.ceil(memory_size / first), parts - 1))


def default_parts(memory_size: int, codes: int = 64) -> int:
    """The fewest parts in which no codebook has more than `codes` codes.

    So the cost of an address grows with the logarithm of the number of cells.
    """
    parts = 1
    while max(factorise(memory_size, parts)) > codes:
        parts += 1
    return parts


def best(logits: list[Tensor], top_k: int) -> tuple[Tensor, Tensor]:
    """The top_k largest sums of one logit from each part -> values and cells, (..., K).

    logits: a list of (..., n_u); the cell of (i_1, …, i_U) is its number in mixed radix.
    """
    value, cell = logits[0].topk(min(top_k, logits[0].shape[-1]), dim=-1)
    for part in logits[1:]:
        n = part.shape[-1]
        more, index = part.topk(min(top_k, n), dim=-1)
        sums = (value.unsqueeze(-1) + more.unsqueeze(-2)).flatten(-2)
        cells = (cell.unsqueeze(-1) * n + index.unsqueeze(-2)).flatten(-2)
        value, order = sums.topk(min(top_k, sums.shape[-1]), dim=-1)
        cell = cells.gather(-1, order)
    return value, cell


def shift(x: Tensor, offset: int, window: int) -> Tensor:
    """x (B, window - 1 + T, …) -> (B, T, …), `offset` steps before each of the T steps."""
    start = window - 1 - offset
    return x[:, start : x.shape[1] - offset]


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; not every kind has it."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class ProductKeys(nn.Module):
    """Read and write addresses of all heads from the input and the `window - 1` inputs before.

    Head h reads at the token that is here, and writes what is here at the address of the token
    `offsets[h]` steps before. With `learn_context` these offsets are only where the read and
    write convolutions over the window begin.
    """

    def __init__(
        self,
        input_size: int,
        num_heads: int,
        memory_size: int,
        top_k: int,
        *,
        parts: int = 2,
        width: int = 32,
        window: int = 4,
        offsets: tuple[int, ...] = (1, 0, 2, 3),
        learn_context: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads, self.top_k, self.window = num_heads, top_k, window
        self.offsets = tuple(offsets[h % len(offsets)] for h in range(num_heads))
        self.sizes = factorise(memory_size, parts)
        self.width = width
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        self.query_weight = nn.Parameter(torch.empty(num_heads * parts * width, input_size, **made))
        self.query_bias = nn.Parameter(torch.empty(num_heads * parts * width, **made))
        self.codes = nn.ParameterList(
            nn.Parameter(torch.empty(num_heads, n, width, **made)) for n in self.sizes
        )
        self.read_context: nn.Parameter | None
        self.write_context: nn.Parameter | None
        if learn_context:
            taps = (num_heads, window, parts * width)
            self.read_context = nn.Parameter(torch.empty(taps, **made))
            self.write_context = nn.Parameter(torch.empty(taps, **made))
        else:
            self.register_parameter("read_context", None)
            self.register_parameter("write_context", None)
        self.sharpness = nn.Parameter(torch.empty(num_heads, **made))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        nn.init.normal_(self.query_weight, std=self.query_weight.shape[1] ** -0.5)
        nn.init.normal_(self.query_bias, std=0.1)
        for codes in self.codes:
            nn.init.normal_(codes)
        nn.init.constant_(self.sharpness, 0.0)
        if self.read_context is not None and self.write_context is not None:
            nn.init.zeros_(self.read_context)
            nn.init.zeros_(self.write_context)
            with torch.no_grad():
                self.read_context[:, 0] = 1
                for h, offset in enumerate(self.offsets):
                    self.write_context[h, offset] = 1

    def forward(self, x: Tensor, segments: Tensor | None) -> tuple[Address, Address]:
        """x (B, window - 1 + T, I) -> write and read addresses of the last T steps.

        segments (B, window - 1 + T) numbers the stretches between resets: a window does not
        reach across. Always computed in float32 or wider, so that ties stay rare.
        """
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        device = x.device.type
        with torch.autocast(device, enabled=False) if autocasts(device) else nullcontext():
            query = nn.functional.linear(
                x.to(wide), self.query_weight.to(wide), self.query_bias.to(wide)
            ).unflatten(-1, (self.num_heads, -1))  # (B, window - 1 + T, H, U·A)
            if self.read_context is None or self.write_context is None:
                return self._by_offset(query, segments)
            read = self._convolve(query, self.read_context.to(wide), segments)
            write = self._convolve(query, self.write_context.to(wide), segments)
            return self._write(*self._score(write)), self._read(*self._score(read))

    def _by_offset(self, query: Tensor, segments: Tensor | None) -> tuple[Address, Address]:
        value, cell = self._score(query)
        nothing_value, nothing_cell = self._score(self.nothing(query).view(1, 1, *query.shape[2:]))
        values, cells = [], []
        for h, offset in enumerate(self.offsets):
            v, c = (shift(each[:, :, h], offset, self.window) for each in (value, cell))
            if segments is not None and offset:
                outside = self._outside(segments, offset).unsqueeze(-1)
                v = torch.where(outside, nothing_value[:, :, h], v)
                c = torch.where(outside, nothing_cell[:, :, h], c)
            values.append(v)
            cells.append(c)
        write = self._write(torch.stack(values, dim=2), torch.stack(cells, dim=2))
        here = slice(self.window - 1, None)
        return write, self._read(value[:, here], cell[:, here])

    def nothing(self, query: Tensor) -> Tensor:
        """(H, U·A) the query of an input that is all zeros: what lies before the first step."""
        return self.query_bias.to(query.dtype).view(query.shape[2:])

    def _outside(self, segments: Tensor, offset: int) -> Tensor:
        here = segments[:, self.window - 1 :]
        return shift(segments, offset, self.window) != here

    def _convolve(self, query: Tensor, taps: Tensor, segments: Tensor | None) -> Tensor:
        """(B, window - 1 + T, H, U·A) and taps (H, window, U·A) -> (B, T, H, U·A)"""
        total = torch.zeros((), dtype=query.dtype, device=query.device)
        for offset in range(self.window):
            there = shift(query, offset, self.window)
            if segments is not None and offset:
                outside = self._outside(segments, offset)[..., None, None]
                there = torch.where(outside, self.nothing(query), there)
            total = total + taps[:, offset] * there
        return total

    def _score(self, query: Tensor) -> tuple[Tensor, Tensor]:
        """Query (B, T, H, U·A) -> logits and cells of the best (B, T, H, K)."""
        parts = query.unflatten(-1, (len(self.sizes), self.width))
        # Unit codes and queries of one length: no cell is nearer to everything than the others.
        length = parts.square().sum(dim=-1, keepdim=True).clamp_min(1e-24)
        parts = parts * (self.width / length).sqrt()
        logits = [
            torch.einsum(
                "bthd,hnd->bthn",
                parts[..., u, :],
                nn.functional.normalize(codes.to(query.dtype), dim=-1),
            )
            for u, codes in enumerate(self.codes)
        ]
        value, cell = best(logits, self.top_k)
        return value * self.sharpness.to(value.dtype).exp().unsqueeze(-1), cell

    def _read(self, value: Tensor, cell: Tensor) -> Address:
        return Address(cell, value.softmax(dim=-1))

    def _write(self, value: Tensor, cell: Tensor) -> Address:
        """Softmax over its maximum: the nearest cell is written in full."""
        return Address(cell, (value - value.amax(dim=-1, keepdim=True)).exp())
