"""What a stream carries from step to step: hidden vectors, the last inputs, the cells.

B sequences, L = num_layers times directions, C = hidden_size.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ramgru.memory import MemoryState

if TYPE_CHECKING:
    from ramgru.trace import LayerTrace


@dataclass(frozen=True)
class Cell:
    """A memory unit, as it was used: its state, its gate and its activation at every step."""

    state: Tensor  # (D,) what it holds at the end
    gate: Tensor  # (T,) how far each step opened it: 1 overwrites the state, 0 leaves it as it is
    activation: Tensor  # (T, D) what it gave out at each step: its state times the read weight


@dataclass(frozen=True)
class RAMGRUState:
    """The state of a `RAMGRU` after some steps: plain tensors, one tuple entry a layer.

    hidden  (L, B, C), as `nn.GRU`'s h_n
    context L tensors (B, window - 1, I): the inputs that address windows still reach back to
    memory  L `MemoryState`s
    trace   what was recorded on the way, where it came from `ramgru.trace`

    It can be copied, pickled, saved with `torch.save`, moved, and indexed by sequence:
    `state[2]`, `state[1:3]`, `state[torch.tensor([0, 2])]`.
    """

    hidden: Tensor
    context: tuple[Tensor, ...]
    memory: tuple[MemoryState, ...]
    trace: tuple[LayerTrace, ...] | None = None

    @property
    def batch_size(self) -> int:
        return self.hidden.shape[1]

    def __getitem__(self, index: int | slice | Tensor) -> RAMGRUState:
        if not isinstance(index, slice) and not (isinstance(index, Tensor) and index.dim()):
            index = operator.index(index)  # also of numpy, or of a tensor without a dimension
            if not -self.batch_size <= index < self.batch_size:
                raise IndexError(
                    f"index: expected a sequence in [0, {self.batch_size}), got {index}"
                )
            index = slice(index, index + 1 or None)
        chosen = index
        return RAMGRUState(
            self.hidden[:, chosen],
            tuple(c[chosen] for c in self.context),
            tuple(m.map(lambda x: x[chosen]) for m in self.memory),
        )

    def _map(self, function: Callable[[Tensor], Tensor]) -> RAMGRUState:
        def fresh(x: Tensor | None) -> Tensor | None:
            return None if x is None else function(x)

        memory = tuple(
            replace(
                m.map(function),
                fresh_left=fresh(m.fresh_left),
                fresh_right=fresh(m.fresh_right),
            )
            for m in self.memory
        )
        return RAMGRUState(function(self.hidden), tuple(map(function, self.context)), memory)

    def detach(self) -> RAMGRUState:
        """The same values, cut from the graph that made them."""
        return self._map(Tensor.detach)

    def clone(self) -> RAMGRUState:
        return self._map(Tensor.clone)

    def to(
        self, device: torch.device | str | None = None, dtype: torch.dtype | None = None
    ) -> RAMGRUState:
        """Moved to a device, and to a floating dtype (cell numbers stay int64)."""

        def move(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=dtype if x.is_floating_point() else None)

        moved = self._map(move)
        memory = tuple(  # positions count steps: they stay in float64
            m if before.position is None else replace(m, position=before.position.to(device))
            for m, before in zip(moved.memory, self.memory)
        )
        return replace(moved, memory=memory)

    def dense(self) -> RAMGRUState:
        """The same with the rows of all cells, so that its size does not depend on the past."""
        return replace(self, memory=tuple(m.dense() for m in self.memory))

    def to_tensor(self) -> Tensor:
        """(B, state_size): hidden, contexts, the rows of all cells, and where tape heads stand.

        One flat row a sequence. Positions are rounded to the dtype of the rest.
        """
        parts = [self.hidden.transpose(0, 1).flatten(1)]
        parts += [c.flatten(1) for c in self.context]
        parts += [m.dense().rows.flatten(1) for m in self.memory]
        dtype = parts[0].dtype
        for part in parts:
            dtype = torch.promote_types(dtype, part.dtype)
        parts += [m.position for m in self.memory if m.position is not None]
        return torch.cat([part.to(dtype) for part in parts], dim=1)

    def from_tensor(self, flat: Tensor) -> RAMGRUState:
        """The state that `to_tensor` flattened; this one (of any batch size) gives the shapes.

        flat (B, state_size)
        """
        L, _, C = self.hidden.shape
        shapes = [(L, C)] + [tuple(c.shape[1:]) for c in self.context]
        for m in self.memory:
            shapes.append((m.rows.shape[1], m.memory_size, m.rows.shape[3]))
        stands = [m.position for m in self.memory if m.position is not None]
        shapes += [(p.shape[1],) for p in stands]
        sizes = [math.prod(shape) for shape in shapes]
        if flat.dim() != 2 or flat.shape[1] != sum(sizes):
            raise ValueError(f"flat: expected shape (B, {sum(sizes)}), got {tuple(flat.shape)}")
        parts = [part.unflatten(1, shape) for part, shape in zip(flat.split(sizes, dim=1), shapes)]
        n = 1 + len(self.context)
        ends = n + len(self.memory)
        stood = iter(parts[ends:])
        B = flat.shape[0]
        return RAMGRUState(
            parts[0].transpose(0, 1).to(self.hidden.dtype),
            tuple(p.to(c.dtype) for p, c in zip(parts[1:n], self.context)),
            tuple(
                replace(
                    m,
                    cells=m.cells.new_empty(B, m.rows.shape[1], 0),
                    # A copy: a step that overwrites this state must leave `flat` as it is.
                    rows=p.to(m.rows.dtype, copy=True).contiguous(),
                    position=None if m.position is None else next(stood).double(),
                )
                for p, m in zip(parts[n:ends], self.memory)
            ),
        )

    def cell(self, index: int, *, layer: int = 0, head: int = 0, batch: int = 0) -> Cell:
        """One memory unit: its state, and, where this state carries a trace, what it did.

        -> `Cell` with state (D,); gate (T,), how far each step opened it; activation (T, D), what
        it gave out at each step. Without a trace gate and activation are empty (T = 0).
        """
        for name, value, size in (
            ("layer", layer, len(self.memory)),
            ("head", head, self.memory[0].rows.shape[1]),
            ("batch", batch, self.batch_size),
            ("index", index, self.memory[0].memory_size),
        ):
            if not 0 <= value < size:
                raise IndexError(f"{name}: expected a number in [0, {size}), got {value}")
        if self.trace is not None:
            return self.trace[layer].cell(index, head=head, batch=batch)
        row = self.memory[layer].row(index, batch, head)
        return Cell(row, row.new_zeros(0), row.new_zeros(0, len(row)))


# Tensors and sizes only, so that `torch.load` reads a saved state as it reads weights.
torch.serialization.add_safe_globals([RAMGRUState, MemoryState])
