"""Tables that hold a memory from call to call, so that a call costs the cells that it touches.

See `table.h`. B sequences, H heads, N cells of width D.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence
from struct import Struct

import torch
from torch import Tensor

from ramgru.kernels import native
from ramgru.kernels.memory_scan.cpu import offsets
from ramgru.kernels.rows import fresh_table

SIZES = "tables H D N capacity T P R C"
FIND = native.arguments(
    "MemoryTableFind",
    SIZES,
    "keys rows first_write first_read write_index read_index lengths cells counts",
)
ROWS = native.arguments(
    "MemoryTableRows", SIZES, "keys rows cells fresh_left fresh_right given found used"
)
GROW = native.arguments("MemoryTableGrow", SIZES, "keys rows to_keys to_rows")
LARGE = 4 << 20  # bytes from which large pages are worth asking for
MOST_CELLS = 2**31 - 2  # keys are numbers of 32 bits


class Table:
    """The memories of B sequences, by the cells that were written."""

    def __init__(
        self, memory_size: int, keys: Tensor, rows: Tensor, fresh: tuple[Tensor, Tensor] | None
    ) -> None:
        """keys (B, H, capacity) int32, rows (B, H, capacity, D): see `table.h`; fresh: the factors
        of a learned start"""
        self.memory_size, self.keys, self.rows = memory_size, keys, rows
        left, right = fresh or (None, None)
        if left is not None and right is not None:
            fresh = left.to(rows.dtype).contiguous(), right.to(rows.dtype).contiguous()
        self.fresh = fresh
        self.used = (keys != 0).sum(-1)  # (B, H)
        self.whole = False  # whether all cells have places
        self.cleared = True  # whether rows in free places may hold anything but zeros

    @staticmethod
    def of(
        memory_size: int, cells: Tensor, rows: Tensor, fresh: tuple[Tensor, Tensor] | None
    ) -> Table:
        """A copy of a memory in one of the forms of `MemoryState`."""
        B, H, P = cells.shape
        if rows.shape[2] != P:  # dense
            keys = torch.arange(1, memory_size + 1, dtype=torch.int32, device="cpu")
            table = Table(memory_size, _copy(keys.expand(B, H, -1)), _copy(rows), fresh)
            table.whole = True
            return table
        none = cells.new_zeros(B, H, 0, dtype=torch.int32)
        table = Table(memory_size, none, rows[:, :, :0], fresh)
        table.cleared = False
        table.put(cells, rows)
        return table

    def clone(self) -> Table:
        table = Table(self.memory_size, _copy(self.keys), _copy(self.rows), self.fresh)
        table.whole, table.cleared = self.whole, self.cleared
        return table

    def find(
        self,
        write_index: Tensor,
        read_index: Tensor,
        counts: tuple[Sequence[int], Sequence[int]],
        lengths: Tensor | None,
    ) -> Tensor:
        """-> (B, H, P) the cells among those that the steps access which have ever been written,
        -1 behind them; counts: the writes and the reads of each head"""
        B, H, _ = self.keys.shape
        T = write_index.shape[1]
        most = T * max(w + r for w, r in zip(*counts))
        first = [offsets(tuple(each)) for each in counts]
        index = (*(i.contiguous() for i in (write_index, read_index)), lengths)
        cells, number = write_index.new_empty(B, H, most), write_index.new_empty(B, H)
        self._run("find", FIND, T, most, (*first, *index, cells, number))
        P = int(number.max())
        cells = cells[..., :P].contiguous()
        return cells.masked_fill_(torch.arange(P, device="cpu") >= number.unsqueeze(-1), -1)

    def rows_of(self, cells: Tensor) -> Tensor:
        """(B, H, P) -> (B, H, P, D), uninitialised where cells are -1"""
        found = self.rows.new_empty(*cells.shape, self.rows.shape[-1])
        given = (cells.contiguous(), *(self.fresh or (None, None)), None, found, None)
        self._run("rows", ROWS, 0, cells.shape[-1], given)
        return found

    def put(self, cells: Tensor, rows: Tensor) -> Tensor:
        """Write rows (B, H, P, D) into cells (B, H, P), -1 for none -> the rows before."""
        self._reserve(cells.shape[-1])
        rows = rows.to(self.rows.dtype).contiguous()
        before = torch.empty_like(rows)
        given = (cells.contiguous(), *(self.fresh or (None, None)), rows, before, self.used)
        self._run("rows", ROWS, 0, cells.shape[-1], given)
        return before

    def clear(self, which: Tensor) -> tuple[Tensor, Tensor]:
        """Let sequences begin anew, (B,) bool -> what they held: cells (B, H, P) and rows."""
        held = self.compact(which)
        self.keys[which] = 0
        self.used[which] = 0
        self.whole, self.cleared = False, True
        return held

    def compact(self, which: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The cells that were written (B, H, P), -1 behind, and their rows; which (B,): of these
        sequences alone"""
        keys = self.keys if which is None else self.keys * which.view(-1, 1, 1)
        b, h, place = keys.nonzero(as_tuple=True)
        B, H, _ = keys.shape
        number = torch.bincount(b * H + h, minlength=B * H)
        P = int(number.max()) if number.numel() else 0
        rank = torch.arange(len(b), device="cpu") - (number.cumsum(0) - number)[b * H + h]
        cells = b.new_full((B, H, P), -1)
        rows = self.rows.new_zeros(B, H, P, self.rows.shape[-1])
        cells[b, h, rank] = keys[b, h, place].long() - 1
        rows[b, h, rank] = self.rows[b, h, place]
        return cells, rows

    def plain(self) -> tuple[Tensor, Tensor]:
        """A copy in a form of `MemoryState`, with all rows if most cells were written."""
        most = int(self.used.max()) if self.used.numel() else 0
        if 2 * most <= self.memory_size or self.keys.shape[-1] < self.memory_size:
            cells, rows = self.compact()
            order = cells.masked_fill(cells < 0, self.memory_size).argsort(-1)
            rows = rows.gather(2, order.unsqueeze(-1).expand_as(rows))
            return cells.gather(-1, order), rows
        return self.keys.new_empty(*self.keys.shape[:2], 0, dtype=torch.int64), self._all_rows()

    def lay_out(self) -> None:
        """Give each cell a place, in order, with its start if it was never written."""
        if self.whole:
            return
        self._grow(self.memory_size)
        if self.fresh is not None or self.cleared:
            self.rows.copy_(self._all_rows())
        self.keys.copy_(torch.arange(1, self.memory_size + 1, device="cpu"))
        self.used.fill_(self.memory_size)
        self.whole = True

    def _all_rows(self) -> Tensor:
        never = (self.keys == 0).unsqueeze(-1)
        if self.fresh is None:
            return self.rows.masked_fill(never, 0)
        return torch.where(never, fresh_table(*self.fresh, self.memory_size), self.rows)

    def _reserve(self, more: int) -> None:
        """Make room for so many more cells in each table."""
        B, H, capacity = self.keys.shape
        most = (int(self.used.max()) if self.used.numel() else 0) + more
        if capacity == self.memory_size or 2 * most <= capacity:
            return
        self._grow(min(1 << (4 * most - 1).bit_length(), self.memory_size))

    def _grow(self, new: int) -> None:
        B, H, capacity = self.keys.shape
        if new == capacity:
            return
        D, dtype = self.rows.shape[-1], self.rows.dtype
        keys, rows = zeros(B, H, new, dtype=torch.int32), zeros(B, H, new, D, dtype=dtype)
        if capacity:
            self._run("grow", GROW, 0, new, (keys, rows))
        self.keys, self.rows = keys, rows

    def _run(
        self, name: str, layout: Struct, T: int, P: int, given: Sequence[Tensor | None]
    ) -> None:
        B, H, capacity, D = self.rows.shape
        R, C = (1, 1) if self.fresh is None else (f.shape[1] for f in self.fresh)
        sizes = (B * H, H, D, self.memory_size, capacity, T, P, R, C)
        native.call(
            f"memory_table_{name}", self.rows.dtype, layout, sizes, (self.keys, self.rows, *given)
        )


def zeros(*shape: int, dtype: torch.dtype) -> Tensor:
    """Zeros in large pages of memory where Linux has them: cells lie scattered, and the processor
    looks up the place of few pages at a time."""
    size = math.prod(shape) * dtype.itemsize
    if size < LARGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return torch.zeros(shape, dtype=dtype, device="cpu")
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(memory, dtype=dtype).view(shape)


def _copy(x: Tensor) -> Tensor:
    return zeros(*x.shape, dtype=x.dtype).copy_(x)
