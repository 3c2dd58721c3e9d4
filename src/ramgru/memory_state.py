"""The memory of one layer, as a state carries it: cells, and tensors of the heads.

B sequences, H heads, N cells of width D.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from ramgru.kernels.rows import fresh_table
from ramgru.kernels.transforms import is_readable
from ramgru.versions import Held

Index = int | slice | Tensor


@dataclass(frozen=True)
class Cell:
    """One cell over time: its state, its gate and its activation at every step."""

    state: Tensor  # (D,) the value at the end, and behind it the tag
    gate: Tensor  # (T,) how far each step opened it: 1 overwrites the state, 0 keeps it
    activation: Tensor  # (T, D) its contribution to each read: its state times the read weight


class Trace(Protocol):
    """The recording of one layer (`ramgru.trace`), as a state carries it along."""

    def map(self, function: Callable[[Tensor], Tensor]) -> Any: ...

    def of_sequences(self, index: Index) -> Any: ...

    def cell(self, index: int, head: int = 0, batch: int = 0) -> Cell: ...


@dataclass(frozen=True)
class MemoryState:
    """The memory of one layer and direction, as plain tensors.

    Compact form: cells (B, H, P) int64, the numbers of the cells that were written, -1 where
    unused, with rows (B, H, P, D), their values. Dense form: cells (B, H, 0) and rows (B, H, N, D).
    A cell that is not listed holds fresh_left[i // C'] + fresh_right[i % C'] (factors of a learned
    start, as they were when the stream began), or zeros.

    Carried on from call to call, the rows stand in a table instead (`held`), and are laid out as
    cells and rows when someone asks for these.

    carried: by kind of head, a tensor (B, …): "key" the last inputs (B, window, I) that keys reach
    back to, "lag" the cell of the ring (B, 1) that is written next, in int64, "tape" the positions
    of writes and of reads (B, 2 · tape heads) in float64.
    """

    cells: Tensor
    rows: Tensor
    memory_size: int
    carried: dict[str, Tensor] = field(default_factory=dict)
    fresh_left: Tensor | None = None  # (H, R, D)
    fresh_right: Tensor | None = None  # (H, C', D)
    held: Held | None = field(default=None, init=False, repr=False, compare=False)

    def with_held(self, held: Held, carried: dict[str, Tensor]) -> MemoryState:
        """The same kind of state with its cells and rows in a table."""
        state = object.__new__(MemoryState)
        others = {k: v for k, v in vars(self).items() if k not in ("cells", "rows")}
        vars(state).update({**others, "carried": carried, "held": held})
        return state

    def with_cells_of(self, other: MemoryState) -> MemoryState:
        """The cells of another memory of the same layer, and this one's tensors of the heads."""
        if other.held is not None:
            return other.with_held(other.held, self.carried)
        return replace(other, carried=self.carried)

    def __getattr__(self, name: str) -> Tensor:
        """cells and rows, laid out for whoever asks first; from then on they are the state."""
        held = vars(self).get("held")
        if name not in ("cells", "rows") or held is None:
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        cells, rows = held.plain()
        vars(self).update(cells=cells, rows=rows, held=None)
        value: Tensor = vars(self)[name]
        return value

    def __getstate__(self) -> dict[str, Any]:
        """Plain tensors, for copies and files."""
        return {option.name: getattr(self, option.name) for option in fields(self)}

    @property
    def sizes(self) -> tuple[int, int, int]:
        """B, H and D, without laying anything out."""
        if self.held is not None:
            return self.held.sizes
        B, H, _, D = self.rows.shape
        return B, H, D

    @property
    def is_dense(self) -> bool:
        return self.rows.shape[2] != self.cells.shape[2]

    def detach(self) -> MemoryState:
        """The same values without their autograd graph."""
        if self.held is None:
            return self.map(lambda x: x.detach() if x.requires_grad else x)
        carried = {kind: value.detach() for kind, value in self.carried.items()}
        return self.with_held(self.held.settled(), carried)

    @property
    def fresh(self) -> tuple[Tensor, Tensor] | None:
        """The factors of a learned start, or None: cells begin as zeros."""
        if self.fresh_left is None or self.fresh_right is None:
            return None
        return self.fresh_left, self.fresh_right

    def __iter__(self) -> Iterator[Tensor]:
        """All its tensors, in the order that `with_tensors` takes them."""
        yield from (self.cells, self.rows, *self.carried.values(), *(self.fresh or ()))

    def with_tensors(self, tensors: Sequence[Tensor]) -> MemoryState:
        """The same kind of state with other tensors, in the order of iteration."""
        names = list(self.carried)
        if len(tensors) != 2 + len(names) + 2 * (self.fresh is not None):
            raise ValueError(
                f"hx: expected {len(list(self))} tensors for the memory of a layer, "
                f"got {len(tensors)}"
            )
        cells, rows, *rest = tensors
        if cells.dim() != 3 or rows.dim() != 4:
            raise ValueError(
                "hx: expected cells (B, heads, P) and rows (B, heads, P, width) for the memory of "
                f"a layer, got shapes {tuple(cells.shape)} and {tuple(rows.shape)}"
            )
        carried, fresh = dict(zip(names, rest)), rest[len(names) :]
        return MemoryState(cells, rows, self.memory_size, carried, *fresh)

    def fresh_rows(self) -> Tensor:
        """(H, N, D) the values of cells before they are written."""
        if self.fresh is None:
            heads, width = self.rows.shape[1], self.rows.shape[3]
            return self.rows.new_zeros(heads, self.memory_size, width)
        return fresh_table(*self.fresh, self.memory_size).to(self.rows.dtype)

    def dense(self) -> MemoryState:
        """The same in dense form."""
        if self.is_dense:
            return self
        B, H, P, D = self.rows.shape
        if self.fresh is None:
            rows = self.rows.new_zeros(B * H * self.memory_size, D)
        else:
            rows = self.fresh_rows().repeat(B, 1, 1, 1).flatten(0, 2)
        held = (self.cells >= 0).flatten().nonzero().squeeze(-1)
        table = torch.arange(B * H, device=rows.device).repeat_interleave(P)
        where = (table * self.memory_size + self.cells.flatten())[held]
        rows = rows.index_copy_(0, where, self.rows.flatten(0, 2)[held])
        return replace(
            self,
            cells=self.cells.new_empty(B, H, 0),
            rows=rows.view(B, H, self.memory_size, D),
        )

    def compact(self) -> MemoryState:
        """The same in compact form, which lists no cell that holds its start to the last bit."""
        if not self.is_dense:
            return self.trimmed()
        if self.fresh is None:
            changed = ((self.rows != 0) | self.rows.signbit()).any(-1)  # (B, H, N)
        else:
            changed = (self.rows != self.fresh_rows()).any(-1)
        used = int(changed.sum(-1).max()) if changed.numel() else 0
        cells = changed.byte().argsort(dim=-1, descending=True, stable=True)[..., :used]
        held = changed.gather(-1, cells)
        rows = self.rows.gather(2, cells.unsqueeze(-1).expand(-1, -1, -1, self.rows.shape[-1]))
        rows = rows.masked_fill(~held.unsqueeze(-1), 0)
        return replace(self, cells=cells.masked_fill(~held, -1), rows=rows)

    def trimmed(self) -> MemoryState:
        """The same without the last columns, which no sequence uses."""
        if self.is_dense or self.cells.shape[-1] == 0:
            return self
        columns = (self.cells >= 0).flatten(0, 1).any(0).nonzero()
        return self._with_columns(int(columns[-1]) + 1 if len(columns) else 0)

    def _with_columns(self, number: int) -> MemoryState:
        """The compact form with room for `number` cells; unused columns are last."""
        more = number - self.cells.shape[-1]
        pad = torch.nn.functional.pad
        # Copies: a view would keep the tensors that it was cut from alive.
        cells = pad(self.cells, (0, more), value=-1) if more > 0 else self.cells[..., :number]
        rows = pad(self.rows, (0, 0, 0, more)) if more > 0 else self.rows[..., :number, :]
        return replace(self, cells=cells.contiguous(), rows=rows.contiguous())

    def row(self, cell: int, batch: int, head: int) -> Tensor:
        """(D,) the value of one cell."""
        if self.is_dense:
            return self.rows[batch, head, cell]
        found = (self.cells[batch, head] == cell).nonzero()
        if len(found):
            return self.rows[batch, head, int(found[0])]
        if self.fresh is None:
            return self.rows.new_zeros(self.rows.shape[-1])
        left, right = self.fresh
        columns = right.shape[1]
        return (left[head, cell // columns] + right[head, cell % columns]).to(self.rows.dtype)

    def first_rows(self, heads: slice, number: int) -> tuple[Tensor | None, Tensor | None]:
        """(B, heads, number, D) the values of the first cells, None where no cell was written; and
        their values before they were written (heads, number, D), None for zeros."""
        fresh = None
        if self.fresh is not None:
            left, right = self.fresh
            cell, columns = torch.arange(number, device=left.device), right.shape[1]
            fresh = (left[heads, cell // columns] + right[heads, cell % columns]).to(
                self.rows.dtype
            )
        if self.held is not None:
            return self.held.first_rows(heads, number), fresh
        rows, cells = self.rows[:, heads], self.cells[:, heads]
        if self.is_dense:
            return rows[:, :, :number], fresh
        B, H, stored, D = rows.shape
        if stored == 0:
            return None, fresh
        table = rows.new_zeros(B, H, number, D) if fresh is None else fresh.expand(B, -1, -1, -1)
        table = torch.nn.functional.pad(table, (0, 0, 0, 1))  # one more, for all other cells
        other = (cells < 0) | (cells >= number)
        where = cells.masked_fill(other, number).unsqueeze(-1).expand_as(rows)
        return table.scatter(2, where, rows)[:, :, :number], fresh

    def of_sequences(self, index: Index) -> MemoryState:
        """The chosen sequences alone, in tensors of their own."""
        chosen = replace(
            self,
            cells=chosen_of(self.cells, index),
            rows=chosen_of(self.rows, index),
            carried={kind: chosen_of(value, index) for kind, value in self.carried.items()},
        )
        return chosen.trimmed() if is_readable(self.cells) else chosen

    def map(self, function: Callable[[Tensor], Tensor]) -> MemoryState:
        """The same with `function` applied to every tensor."""
        return self.with_tensors([function(value) for value in self])

    @staticmethod
    def cat(states: Sequence[MemoryState]) -> MemoryState:
        """The sequences of several states of one layer, one after the other."""
        first = states[0]
        same = all(
            s.memory_size == first.memory_size
            and s.rows.shape[1] == first.rows.shape[1]
            and s.rows.shape[3] == first.rows.shape[3]
            and {k: v.shape[1:] for k, v in s.carried.items()}
            == {k: v.shape[1:] for k, v in first.carried.items()}
            for s in states
        )
        if not same:
            raise ValueError("states: expected states of one layer, got different memories")
        if any(s.is_dense for s in states) or not all(_same_start(s, first) for s in states):
            states = [s.dense() for s in states]
        else:
            most = max(s.cells.shape[-1] for s in states)
            states = [s._with_columns(most) for s in states]
        return replace(
            first,
            cells=torch.cat([s.cells for s in states]),
            rows=torch.cat([s.rows for s in states]),
            carried={k: torch.cat([s.carried[k] for s in states]) for k in first.carried},
        )


def chosen_of(x: Tensor, index: Index) -> Tensor:
    """Some entries of a tensor in memory of their own, so that saving them saves nothing else."""
    part = x[index]
    return part.clone(memory_format=torch.contiguous_format) if isinstance(index, slice) else part


def _same_start(a: MemoryState, b: MemoryState) -> bool:
    if a.fresh is None or b.fresh is None:
        return a.fresh is b.fresh
    return all(torch.equal(x, y) for x, y in zip(a.fresh, b.fresh))
