"""Key heads: a step's cells are found by a hash of its key, product keys over random features.

Each head scores its cells with U small codebooks instead of one of N rows: the best codes of each,
merged two by two, are exactly the best of all N cells (product keys, arXiv 1907.05242). The address
is a function of the inputs alone, so a read finds the cells that a write with the same key chose.

B sequences, T steps, I inputs, H key heads, U codebooks, A = CODE numbers a code, W steps written
and J read at a step.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.config import Key, Memory, codebook_sizes
from ramgru.kernels.address import product_keys, short_convolution
from ramgru.kernels.projection import projection
from ramgru.ragged import last_steps

CODE = 16  # A, numbers of a code


@dataclass(frozen=True)
class Address:
    """Cells and their weights: index (B, T, H, K) int64, -1 for no access, weight (B, T, H, K)."""

    index: Tensor
    weight: Tensor

    @staticmethod
    def join(addresses: Sequence[Address]) -> Address:
        """The heads of several groups side by side, filled up to one K with no access."""
        if len(addresses) == 1:
            return addresses[0]
        most = max(address.index.shape[-1] for address in addresses)
        pad = nn.functional.pad
        free = [(0, most - address.index.shape[-1]) for address in addresses]
        return Address(
            torch.cat([pad(a.index, f, value=-1) for a, f in zip(addresses, free)], dim=2),
            torch.cat([pad(a.weight, f) for a, f in zip(addresses, free)], dim=2),
        )


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; not every kind has it."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast for the device of x."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()


class KeyHeads(nn.Module):
    """The write and read addresses of all key heads of a layer.

    The key of head h is the `steps[h]` inputs that end `skip[h]` steps ago. The head reads at the
    key of the current step and writes at the key of `write_after[h]` steps before, both hashed by
    the same function:

        query = cos(sum_j taps[j] * (W x[t - j] + b))        random Fourier features of the key

    Two keys are as similar as a Gaussian of their distance (Rahimi and Recht, NeurIPS 2007), so
    keys that differ in a single step are as far apart as any others. W, b, taps and codes are
    random and frozen; only the sharpness of the weights is trained.
    """

    query_weight: Tensor  # (H·U·A, I)
    query_bias: Tensor  # (H·U·A,)
    taps: Tensor | None  # (H, longest key, U·A); None where every key is the current input

    def __init__(
        self,
        heads: tuple[Key, ...],
        input_size: int,
        memory: Memory,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.heads = heads
        self.writes, self.reads = min(memory.writes, memory.cells), min(memory.reads, memory.cells)
        self.sizes = codebook_sizes(memory.cells)
        self.write_after = tuple(head.write_after for head in heads)
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        H, rows = len(heads), len(heads) * len(self.sizes) * CODE
        longest = max(head.skip + head.steps for head in heads)
        self.window = longest + max(self.write_after) - 1
        # Buffers, not parameters without gradients: who collects gradients meets none missing.
        self.register_buffer("query_weight", torch.empty(rows, input_size, **made))
        self.register_buffer("query_bias", torch.empty(rows, **made))
        for u, n in enumerate(self.sizes):
            self.register_buffer(f"codes_{u}", torch.empty(H, n, CODE, **made))
        taps = torch.empty(H, longest, rows // H, **made) if longest > 1 else None
        self.register_buffer("taps", taps)
        self.sharpness = nn.Parameter(torch.empty(H, **made))
        self.reset_parameters()

    @property
    def codes(self) -> list[Tensor]:
        """Of each codebook (H, n_u, A); the length of a code has no effect."""
        return [getattr(self, f"codes_{u}") for u in range(len(self.sizes))]

    def reset_parameters(self) -> None:
        # Independent inputs of unit variance are e^-8 alike; inputs that differ by a tenth, half.
        nn.init.normal_(self.query_weight, std=(8 / self.query_weight.shape[1]) ** 0.5)
        nn.init.uniform_(self.query_bias, -math.pi, math.pi)
        for codes in self.codes:
            nn.init.normal_(codes)
        nn.init.constant_(self.sharpness, 0.0)
        if self.taps is None:
            return
        with torch.no_grad():
            self.taps.zero_()
            for taps, head in zip(self.taps, self.heads):
                key = taps[head.skip : head.skip + head.steps]
                if head.steps == 1:
                    key.fill_(1)
                else:  # of either sign and unequal: swapped steps are another key
                    key.uniform_(0.5, 1.5).mul_(torch.randint_like(key, 2).mul_(2).sub_(1))

    def start(self, batch_size: int) -> Tensor:
        """(B, window, I) the inputs before the first step of fresh streams."""
        return self.query_weight.new_zeros(batch_size, self.window, self.query_weight.shape[1])

    def after(
        self, x: Tensor, carried: Tensor, lengths: Tensor | None, reset: Tensor | None
    ) -> Tensor:
        """(B, window, I) the last inputs, zeros in place of those before a reset."""
        return last_steps(x, carried.to(x.dtype), lengths, reset)

    def forward(
        self,
        x: Tensor,  # (B, T, I)
        carried: Tensor,  # (B, window, I) the inputs before
        reset: Tensor | None,  # (B, T)
    ) -> tuple[Address, Address]:
        """-> the addresses of writes and of reads.

        A key does not reach across a reset. Always computed in float32 or wider, so that ties stay
        rare.
        """
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        with without_autocast(x):
            weight, nothing = self.query_weight.to(wide), self.query_bias.to(wide)
            query, before = (projection(v.to(wide), weight, nothing) for v in (x, carried))
            if self.taps is not None:
                query, before, nothing = self._convolved(query, before, nothing, reset)
            query, before, nothing = query.cos(), before.cos(), nothing.cos()
            codes = torch.cat([codes.to(query.dtype) for codes in self.codes], dim=1)
            write_index, write_weight, read_index, read_weight = product_keys(
                query,
                before,
                nothing,
                codes,
                self.sharpness.to(query.dtype),
                reset,
                writes=self.writes,
                reads=self.reads,
                sizes=self.sizes,
                offsets=self.write_after,
            )
        return Address(write_index, write_weight), Address(read_index, read_weight)

    def _convolved(
        self, query: Tensor, before: Tensor, nothing: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of single steps -> queries of keys; as many before as writes reach back to."""
        assert self.taps is not None
        taps = self.taps.to(query.dtype).transpose(0, 1).flatten(1)  # (longest key, H·U·A)
        reach, steps = max(self.write_after), len(taps)
        every = torch.cat([before, query], dim=1)
        if reset is not None:
            reset = nn.functional.pad(reset, (reach, 0))
        every = short_convolution(
            every[:, steps - 1 :], every[:, : steps - 1], nothing, taps, reset
        )
        return every[:, reach:], every[:, :reach], nothing * taps.sum(0)

    def step_tensors(self) -> tuple[list[tuple[dict[str, Any], str]], ...]:
        """Where the native step finds its tensors: query weight, bias, sharpness, taps; codes."""
        found: list[tuple[dict[str, Any], str]]
        found = [(self._buffers, "query_weight"), (self._buffers, "query_bias")]
        found += [(self._parameters, "sharpness"), (self._buffers, "taps")]
        return found, [(self._buffers, f"codes_{u}") for u in range(len(self.sizes))]
