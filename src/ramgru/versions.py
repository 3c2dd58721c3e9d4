"""Memories that share a table: one is the table's content, the others say how they differ from it.

A call that goes on with a memory writes into its table, in place, and notes at the memory before
what stood there. So a memory stays as it is, and a call costs the cells that it touches. A memory
that is used again after its successor was made gets a table of its own: a copy, with those notes.
(Baker 1978, "Shallow binding in Lisp 1.5"; in the literature, persistent arrays.)

B sequences, H heads, N cells of width D.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.table import Table

_lock = threading.RLock()  # of all tables: kernels run without Python's own


@contextmanager
def _alone() -> Iterator[None]:
    """Without other threads and graphs; tables made in inference mode serve outside of it too."""
    with _lock, torch.inference_mode(False), torch.no_grad():
        yield


class Version:
    """What a table held at one moment."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self._next: Version | None = None
        self._before: list[tuple[Tensor, Tensor]] = []  # cells and rows, as they were here

    @staticmethod
    def of(
        memory_size: int, cells: Tensor, rows: Tensor, fresh: tuple[Tensor, Tensor] | None
    ) -> Version:
        """A copy of a memory in one of the forms of `MemoryState`."""
        with _alone():
            return Version(Table.of(memory_size, cells, rows, fresh))

    @property
    def table(self) -> Table:
        """Sizes and dtype; the content may be of a later version."""
        return self._table

    def find(
        self,
        write_index: Tensor,
        read_index: Tensor,
        counts: tuple[Sequence[int], Sequence[int]],
        lengths: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        """-> the cells that steps access and that were ever written, and their rows, a copy"""
        with _alone():
            table = self._own()
            cells = table.find(write_index, read_index, counts, lengths)
            return cells, table.rows_of(cells)

    def rows_of(self, cells: Tensor) -> Tensor:
        with _alone():
            return self._own().rows_of(cells)

    def with_rows(self, cells: Tensor, rows: Tensor, cleared: Tensor | None = None) -> Version:
        """The next version, with other rows in some cells (B, H, P), -1 for none.

        cleared: (B,) bool, sequences that begin anew before that
        """
        with _alone():
            table, after = self._own(), None
            before = []
            if cleared is not None and bool(cleared.any()):
                before.append(table.clear(cleared))
            before.append((cells, table.put(cells, rows)))
            after = Version(table)
            self._next, self._before = after, before
            return after

    def overwritten(self, run: Callable[..., None], results: Sequence[Any], most: int) -> Version:
        """The next version, whose rows run(rows (B, H, N, D), *results, noted) overwrites in place.

        noted gets the cells that are written, at most so many of each head, and their rows before
        """
        with _alone():
            table = self._own()
            table.lay_out()
            B, H, _, D = table.rows.shape
            noted = table.used.new_empty(B, H, most), table.rows.new_empty(B, H, most, D)
            run(table.rows, *results, noted)
            after = Version(table)
            self._next, self._before = after, [noted]
            return after

    def plain(self) -> tuple[Tensor, Tensor]:
        """A copy in a form of `MemoryState`: all rows if the table has a place for each cell."""
        with _alone():
            return self._own().plain()

    def _own(self) -> Table:
        """A table that holds this version: a copy if the table has gone on."""
        notes, last = [], self
        while last._next is not None:
            notes.append(last._before)
            last = last._next
        if notes:
            table = last._table.clone()
            for cells, rows in (note for notes_ in reversed(notes) for note in reversed(notes_)):
                table.put(cells, rows)
            self._table, self._next, self._before = table, None, []
        return self._table


@dataclass(frozen=True)
class Held:
    """A memory in a table, as a state holds it: a version, and changes that are not in the table,
    since a graph goes through them."""

    version: Version
    cells: Tensor | None = None  # (B, H, P) ascending, -1 behind
    rows: Tensor | None = None  # (B, H, P, D)
    cleared: Tensor | None = None  # (B,) bool: sequences that began anew before these changes

    @property
    def sizes(self) -> tuple[int, int, int]:
        """B, H and D"""
        B, H, _, D = self.version.table.rows.shape
        return B, H, D

    def settled(self) -> Held:
        """The same without a graph: the changes are put into the table."""
        if self.cells is None or self.rows is None:
            return self
        return Held(self.version.with_rows(self.cells, self.rows.detach(), self.cleared))

    def begin_anew(self, which: Tensor) -> Held:
        """The same with fresh memories for some sequences, (B,) bool; without a graph"""
        B, H, D = self.sizes
        rows = self.version.table.rows.new_empty(B, H, 0, D)
        none = self.version.table.used.new_empty(B, H, 0)
        return Held(self.settled().version.with_rows(none, rows, which))

    def plain(self) -> tuple[Tensor, Tensor]:
        """cells and rows in a form of `MemoryState`, with the graph of the changes"""
        cells, rows = self.settled().version.plain()
        if self.cells is None or self.rows is None:
            return cells, rows
        if cells.shape[-1] == 0:  # all rows
            place = self.cells
        else:
            place = torch.searchsorted(
                cells.masked_fill(cells < 0, self.version.table.memory_size),
                self.cells.clamp_min(0),
            ).masked_fill(self.cells < 0, -1)
        some = place >= 0  # (B, H, P)
        B, H, R, D = rows.shape
        first = (torch.arange(B * H, device="cpu") * R).view(B, H, 1)
        rows = rows.flatten(0, 2).index_copy(0, (place + first)[some], self.rows[some])
        return cells, rows.view(B, H, R, D)

    def first_rows(self, heads: slice, number: int) -> Tensor:
        """(B, heads, number, D) of the first cells, without a graph"""
        held = self.settled()
        B, H, _ = self.sizes
        cells = torch.arange(number, device="cpu").expand(B, H, number).clone()
        cells[:, : heads.start] = cells[:, heads.stop :] = -1
        return held.version.rows_of(cells)[:, heads]
