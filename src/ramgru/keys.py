"""Key heads: a step's cells are found by a hash of its key, product keys over random features.

A key is a projection of the input, scaled to one length, so that the input's scale does not count.
The hash of a key is frozen: two keys are as alike as exp(-b (1 - cos of their angle)), where b is
the head's bandwidth (random Fourier features, Rahimi and Recht, NeurIPS 2007). Each head scores its
cells with U small codebooks instead of one of N rows: the best codes of each, merged two by two,
are exactly the best of all N cells (product keys, arXiv 1907.05242). The address is a function of
the inputs alone, so a read finds the cells that a write with the same key chose.

B sequences, T steps, I inputs, H heads, A = CODE numbers a key, U codebooks, F = FEATURES random
features a codebook, W steps written and J read at a step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ramgru.config import CODE, ContentHead, Key, Memory, codebook_sizes
from ramgru.kernels.address import (
    earlier,
    packed,
    product_keys,
    product_keys_path,
    short_convolution,
    unit,
)
from ramgru.kernels.dispatch import CPU
from ramgru.kernels.memory_scan import pad_heads
from ramgru.kernels.projection import projection
from ramgru.ragged import last_steps

FEATURES = 16  # F, random features of a key for each codebook

# Bandwidths to begin with. Exact keys: independent inputs are e^-32 alike, give or take. Learned
# keys: a key that comes back with noise is found.
EXACT, LEARNED = 32.0, 1.5


@dataclass(frozen=True)
class Address:
    """Cells and their weights: index (B, T, H, K) int64, -1 for no access, weight (B, T, H, K).

    If `counts` gives each head a K of its own, the heads stand side by side in (B, T, S).
    """

    index: Tensor
    weight: Tensor
    counts: tuple[int, ...] | None = None

    @staticmethod
    def join(addresses: Sequence[Address]) -> Address:
        """The heads of several groups side by side."""
        if len(addresses) == 1:
            return addresses[0]
        every = tuple(itertools.chain(*(a.of_each() for a in addresses)))
        if len(set(every)) == 1:
            index, weight = zip(*((a.index, a.weight) for a in addresses))
            return Address(torch.cat(index, dim=2), torch.cat(weight, dim=2))
        index, weight = zip(*((a.index.flatten(2), a.weight.flatten(2)) for a in addresses))
        return Address(torch.cat(index, dim=2), torch.cat(weight, dim=2), every)

    def of_each(self) -> tuple[int, ...]:
        """The number of cells of each head."""
        heads, cells = self.index.shape[-2:]
        return self.counts or (cells,) * heads

    def side_by_side(self) -> Address:
        """As (B, T, S), with counts."""
        if self.counts is not None:
            return self
        return Address(self.index.flatten(2), self.weight.flatten(2), self.of_each())

    def cells(self, head: int) -> Tensor:
        """(B, T, K) the cells of one head"""
        if self.counts is None:
            return self.index[:, :, head]
        first = sum(self.counts[:head])
        return self.index[..., first : first + self.counts[head]]

    def padded(self) -> Address:
        """As (B, T, H, K), filled up to one K with no access."""
        if self.counts is None:
            return self
        return Address(pad_heads(self.index, self.counts, -1), pad_heads(self.weight, self.counts))


@dataclass(frozen=True)
class Addresses:
    """What a step writes and reads, and the unit keys of both: query of the step itself, key of the
    step that its write is found by; of each group of heads (B, T, H, A), or none where nobody asked
    for them."""

    write: Address
    read: Address
    query: tuple[Tensor, ...]
    key: tuple[Tensor, ...]


class Group(NamedTuple):
    """Heads with the same kind of key, and the cells that each of them writes and reads."""

    weight: str  # where P lies
    heads: slice
    writes: int
    reads: int


# By module, group and dtype: where its buffers lie and their versions, the buffers, packed.
_packed: WeakKeyDictionary[nn.Module, dict[tuple[str, torch.dtype], tuple[Any, ...]]] = (
    WeakKeyDictionary()
)


def autocasts(device: str) -> bool:
    """Whether autocast is on for a kind of device; not every kind has it."""
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


def without_autocast(x: Tensor) -> AbstractContextManager[Any]:
    """A context without autocast for the device of x."""
    device = x.device.type
    return torch.autocast(device, enabled=False) if autocasts(device) else nullcontext()


class KeyHeads(nn.Module):
    """The write and read addresses of all heads with a key, first `Key`, then `Learned`.

        p[t]  = sum_j taps[j] (P x[t - skip - j])       the window of `steps` inputs
        u     = p / sqrt(mean p²)                       a zero key stays zero
        query = cos(features u + phases) - centre       then the nearest cells

    A head reads at the key of the current step and writes at the key of `write_after` steps before,
    both hashed alike. Features, phases, codes and taps are random and frozen; so is P in `Key`
    heads. The hash has no gradient: P of `Learned` heads learns from the unit keys u. The sharpness
    of the weights is trained.
    """

    frozen: Tensor | None  # (Key heads · A, I) P of the Key heads
    features: Tensor  # (H, U·F, A), times sqrt(b / A)
    phases: Tensor  # (H, U·F)
    codes: Tensor  # (H, n_1 + … + n_U, F) codebook after codebook; their lengths have no effect
    taps: Tensor | None  # (H, longest key, A); None where every key is the current input
    projection: nn.Parameter | None  # (Learned heads · A, I) their P

    def __init__(
        self,
        heads: tuple[ContentHead, ...],
        input_size: int,
        memory: Memory,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.heads, self.input_size = heads, input_size
        writes, reads = min(memory.writes, memory.cells), min(memory.reads, memory.cells)
        self.sizes = codebook_sizes(memory.cells)
        self.write_after = tuple(head.write_after for head in heads)
        H, U, A, F = len(heads), len(self.sizes), CODE, FEATURES
        fixed = sum(isinstance(head, Key) for head in heads)
        # A key that comes back as it was finds all cells that it wrote, one that only resembles it
        # some of them.
        groups = [
            Group("frozen", slice(0, fixed), writes, writes),
            Group("projection", slice(fixed, H), max(1, reads // 4), reads),
        ]
        self.groups = [group for group in groups if heads[group.heads]]
        self.writes = [g.writes for g in self.groups for _ in heads[g.heads]]  # of each head
        self.reads = [g.reads for g in self.groups for _ in heads[g.heads]]
        longest = max(head.skip + head.steps for head in heads)
        self.window = longest + max(self.write_after) - 1

        def empty(*shape: int) -> Tensor | None:
            return torch.empty(shape, device=device, dtype=dtype) if shape[0] else None

        def parameter(*shape: int) -> nn.Parameter | None:
            return None if (value := empty(*shape)) is None else nn.Parameter(value)

        # Buffers, not parameters without gradients: who collects gradients meets none missing.
        self.register_buffer("frozen", empty(fixed * A, input_size))
        self.register_buffer("features", empty(H, U * F, A))
        self.register_buffer("phases", empty(H, U * F))
        self.register_buffer("codes", empty(H, sum(self.sizes), F))
        self.register_buffer("taps", empty(H, longest, A) if longest > 1 else None)
        self.register_parameter("projection", parameter((H - fixed) * A, input_size))
        self.sharpness = nn.Parameter(torch.empty(H, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        for weight in (self.frozen, self.projection):
            if weight is not None:
                nn.init.normal_(weight, std=self.input_size**-0.5)
        for features, head in zip(self.features, self.heads):
            bandwidth = EXACT if isinstance(head, Key) else LEARNED
            nn.init.normal_(features, std=(bandwidth / CODE) ** 0.5)
        nn.init.uniform_(self.phases, -math.pi, math.pi)
        nn.init.normal_(self.codes)
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
        return self.codes.new_zeros(batch_size, self.window, self.input_size)

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
        unit_keys: bool = False,  # whether the result has query and key
    ) -> Addresses:
        """Unit keys of `Learned` heads have a gradient, for P and x; `Key` heads have none.

        A key does not reach across a reset: a step before it has the zero key. Always computed in
        float32 or wider, so that ties stay rare.
        """
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        learns = unit_keys and torch.is_grad_enabled()
        writes, reads, units = [], [], []
        with without_autocast(x):
            x, carried = x.to(wide), carried.to(wide)
            for group in self.groups:
                with torch.set_grad_enabled(learns and group.weight == "projection"):
                    key, before = self._keys(group, x, carried, reset)
                    if unit_keys:
                        units.append(self._unit_keys(group, key, before, reset))
                write, read = self._hashed(group, key, before, reset)
                writes.append(write)
                reads.append(read)
        queries, written = (tuple(each) for each in zip(*units)) if units else ((), ())
        return Addresses(Address.join(writes), Address.join(reads), queries, written)

    def _hashed(
        self, group: Group, key: Tensor, before: Tensor, reset: Tensor | None
    ) -> tuple[Address, Address]:
        """-> the addresses of writes and of reads of a group's heads."""
        features, phases, codes, packed = self._hash(group, key.dtype)
        write_index, write_weight, read_index, read_weight = product_keys(
            key,
            before,
            features,
            phases,
            codes,
            self.sharpness[group.heads].to(key.dtype),
            reset,
            writes=group.writes,
            reads=group.reads,
            sizes=self.sizes,
            offsets=self.write_after[group.heads],
            packed=packed,
        )
        return Address(write_index, write_weight), Address(read_index, read_weight)

    def _hash(
        self, group: Group, dtype: torch.dtype
    ) -> tuple[Tensor, Tensor, Tensor, tuple[Tensor, ...] | None]:
        """-> features, phases and codes of a group, and all three as the native kernel reads them,
        if that runs: packed once, until they change."""

        def of_group(values: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            features, phases, codes = (value[group.heads].to(dtype) for value in values)
            return features, phases, codes

        buffers = self.features, self.phases, self.codes
        if product_keys_path(*buffers) != CPU or any(value.is_inference() for value in buffers):
            return *of_group(buffers), None
        # Held, so that no other tensor gets the address of one that was replaced meanwhile.
        held = [value.detach() for value in buffers]
        frozen, now = of_group(held), [(value.data_ptr(), value._version) for value in held]
        kept = _packed.setdefault(self, {})
        before, _, hashed = kept.get((group.weight, dtype), (None, None, None))
        if before != now:
            hashed = packed(*frozen, self.sizes)
            kept[group.weight, dtype] = now, held, hashed
        return *frozen, hashed

    def _keys(
        self, group: Group, x: Tensor, carried: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """-> keys of any length (B, T, H·A), and as many before as writes reach back to."""
        weight, reach = getattr(self, group.weight).to(x.dtype), self._reach(group)
        longest = 1 if self.taps is None else self.taps.shape[1]
        first = carried.shape[1] - (reach + longest - 1)
        key, before = projection(x, weight), projection(carried[:, first:], weight)
        if self.taps is None:
            return key, before
        taps = self.taps[group.heads].to(key.dtype).transpose(0, 1).flatten(1)  # (longest, H·A)
        every = torch.cat([before, key], dim=1)
        if reset is not None:
            reset = nn.functional.pad(reset, (reach, 0))
        every = short_convolution(every[:, longest - 1 :], every[:, : longest - 1], taps, reset)
        return every[:, reach:], every[:, :reach]

    def _reach(self, group: Group) -> int:
        """Steps before the current one at whose keys the heads write."""
        return max(self.write_after[group.heads])

    def _unit_keys(
        self, group: Group, key: Tensor, before: Tensor, reset: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """-> unit keys of each step and of what it writes, both (B, T, H, A)."""
        reach, offsets = self._reach(group), self.write_after[group.heads]
        every = torch.cat([before, key], dim=1) if reach else key
        every = unit(every.unflatten(-1, (len(offsets), CODE)))
        written, h = [], 0
        for offset, same in itertools.groupby(offsets):
            heads = slice(h, h := h + len(list(same)))
            written.append(earlier(every[:, :, heads], offset, reach, reset))
        return every[:, reach:], torch.cat(written, dim=2) if len(written) > 1 else written[0]

    def step_sources(self) -> list[tuple[dict[str, Any], str]]:
        """Where the tensors lie that `step_constants` is a function of."""
        buffers = ("frozen", "taps", "features", "phases", "codes")
        places: list[tuple[dict[str, Any], str]] = [
            (self._parameters, "projection"),
            *((self._buffers, name) for name in buffers),
        ]
        return [place for place in places if place[0].get(place[1], ...) is not None]

    @torch.no_grad()
    def step_constants(self) -> tuple[Tensor | None, ...]:
        """What the native step takes: P, taps, features and codes."""
        weight = _joined(self.frozen, self.projection)
        return weight, self.taps, *packed(self.features, self.phases, self.codes, self.sizes)


def _joined(*parts: Tensor | None) -> Tensor:
    """Rows below each other; None stands for no rows."""
    return torch.cat([part for part in parts if part is not None])
