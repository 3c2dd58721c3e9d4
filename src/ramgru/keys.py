"""Where a step reads and writes: product keys over a short window of the layer's input.

Each head scores the cells with U small codebooks instead of one of N rows: the best of each
part, merged two by two, are exactly the best of all N (product keys, arXiv 1907.05242). The address
is a function of the window alone, so that what is read is found where it was written.

B sequences, T steps, H heads, K = top_k, U parts, A address width of one head.
"""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramgru.kernels.product_keys import product_keys
from ramgru.kernels.projection import projection
from ramgru.kernels.short_convolution import short_convolution


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


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; not every kind has it."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A block in which tensors that lie where x does are computed with in the dtypes they have."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()


class ProductKeys(nn.Module):
    """Read and write addresses of all heads from the input and the `window - 1` inputs before.

    The key of head h at a step is what was read `skips[h]` steps before it and at the steps before
    that, `spans[h]` steps in all. The head reads at the key of its step, and writes at the key of
    `offsets[h]` steps before: both are the same function, so that what is read is found where it
    was written.

        query = cos(sum_j taps[j] * (W x[t - j] + b))        random Fourier features of the key

    Two keys are as similar as a Gaussian of their distance (Rahimi and Recht, NeurIPS 2007), so
    that a key of which one step differs is as good as any other. W, b and the codes are random and
    stay so, unless `learn_address`: trained, they hold no more (docs/study/levers.md). So do the
    taps, unless `learn_context`: a convolution over the window is then trained that starts there.
    """

    query_weight: Tensor  # (H·U·A, I)
    query_bias: Tensor  # (H·U·A,)
    taps: Tensor | None  # (H, steps, U·A), where keys are more than the step itself

    def __init__(
        self,
        input_size: int,
        num_heads: int,
        memory_size: int,
        top_k: int,
        *,
        parts: int = 2,
        width: int = 16,
        window: int = 4,
        offsets: tuple[int, ...] = (1,),
        skips: tuple[int, ...] = (0,),
        spans: tuple[int, ...] = (1,),
        learn_address: bool = False,
        learn_context: bool = False,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.num_heads, self.top_k, self.window = num_heads, top_k, window
        self.offsets, self.skips, self.spans = (
            tuple(each[h % len(each)] for h in range(num_heads)) for each in (offsets, skips, spans)
        )
        self.sizes = factorise(memory_size, parts)
        self.width = width
        made: dict[str, Any] = {"device": device, "dtype": dtype}
        rows, longest = num_heads * parts * width, max(map(sum, zip(self.skips, self.spans)))
        steps = window - max(self.offsets) if learn_context else longest

        def hold(name: str, learn: bool, *shape: int) -> None:
            tensor = torch.empty(shape, **made)
            if learn:
                self.register_parameter(name, nn.Parameter(tensor))
            else:  # no parameter: whoever asks for the gradients of all parameters gets them
                self.register_buffer(name, tensor)

        hold("query_weight", learn_address, rows, input_size)
        hold("query_bias", learn_address, rows)
        for u, n in enumerate(self.sizes):
            hold(f"codes_{u}", learn_address, num_heads, n, width)
        if learn_context or longest > 1:
            hold("taps", learn_context, num_heads, steps, parts * width)
        else:
            self.register_buffer("taps", None)
        self.sharpness = nn.Parameter(torch.empty(num_heads, **made))
        self.reset_parameters()

    @property
    def codes(self) -> list[Tensor]:
        """Of each part (H, n_u, A), whose length does not count."""
        return [getattr(self, f"codes_{u}") for u in range(len(self.sizes))]

    def reset_parameters(self) -> None:
        # Unrelated steps of unit variance are e^-8 alike; those of which a tenth differs, half.
        nn.init.normal_(self.query_weight, std=(8 / self.query_weight.shape[1]) ** 0.5)
        nn.init.uniform_(self.query_bias, -math.pi, math.pi)
        for codes in self.codes:
            nn.init.normal_(codes)
        nn.init.constant_(self.sharpness, 0.0)
        if self.taps is not None:
            with torch.no_grad():
                self.taps.zero_()
                for taps, skip, span in zip(self.taps, self.skips, self.spans):
                    key = taps[skip : skip + span]
                    if span == 1:
                        key.fill_(1)
                    else:  # of either sign and unequal: swapped steps are another key
                        key.uniform_(0.5, 1.5).mul_(torch.randint_like(key, 2).mul_(2).sub_(1))

    def forward(self, x: Tensor, context: Tensor, reset: Tensor | None) -> tuple[Address, Address]:
        """x (B, T, I), context (B, window - 1, I) the inputs before -> write and read addresses.

        A window does not reach across a step that begins anew, reset (B, T). Always computed in
        float32 or wider, so that ties stay rare.
        """
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        with without_autocast(x):
            weight, nothing = self.query_weight.to(wide), self.query_bias.to(wide)
            query, before = (projection(v.to(wide), weight, nothing) for v in (x, context))
            if self.taps is not None:
                query, before, nothing = self._keys(query, before, nothing, reset)
            query, before, nothing = query.cos(), before.cos(), nothing.cos()
            codes = torch.cat([codes.to(query.dtype) for codes in self.codes], dim=1)
            write_index, write_weight, read_index, read_weight = product_keys(
                (query, before, nothing, codes, self.sharpness.to(query.dtype), reset),
                self.top_k,
                self.top_k,
                self.sizes,
                self.offsets,
            )
        return Address(write_index, write_weight), Address(read_index, read_weight)

    def _keys(
        self, query: Tensor, before: Tensor, nothing: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of single steps -> those of keys, of which as many before as writes reach."""
        assert self.taps is not None
        taps = self.taps.to(query.dtype).transpose(0, 1).flatten(1)  # (steps, H·U·A)
        reach, steps = max(self.offsets), len(taps)
        every = torch.cat([before[:, before.shape[1] - reach - steps + 1 :], query], dim=1)
        if reset is not None:
            reset = nn.functional.pad(reset, (reach, 0))
        (every,) = short_convolution(
            (every[:, steps - 1 :], every[:, : steps - 1], nothing, taps, reset)
        )
        return every[:, reach:], every[:, :reach], nothing * taps.sum(0)
