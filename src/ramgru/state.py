"""The state that a stream carries from step to step: hidden vectors, and a memory for each layer.

B sequences, L = num_layers times directions, C = hidden_size, H heads, N cells of width D.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from ramgru import files
from ramgru.errors import CheckpointError
from ramgru.memory_state import Cell, Index, MemoryState, chosen_of


@dataclass(frozen=True)
class RAMGRUState:
    """The state of a `RAMGRU` after some steps: plain tensors, one entry a layer and direction.

    hidden  (L, B, C), the controller's hidden vectors
    memory  L `MemoryState`s
    trace   L recordings, where the state comes from `ramgru.trace`

    It can be copied, pickled, moved, saved (`save`, `torch.save`), joined (`cat`) and indexed by
    sequence: `state[2]`, `state[1:3]` and `state[torch.tensor([0, 2])]` are copies of these
    sequences alone. Iteration gives its two parts, as in `hidden, memory = state`; a layer takes
    the same nesting of tuples as `hx`.
    """

    hidden: Tensor
    memory: tuple[MemoryState, ...]
    trace: tuple[Any, ...] | None = None

    @property
    def batch_size(self) -> int:
        return self.hidden.shape[1]

    def __iter__(self) -> Iterator[Any]:
        yield from (self.hidden, self.memory)

    def with_parts(self, parts: Sequence[Any]) -> RAMGRUState:
        """A state of the same layer from its two parts, as nested tuples of tensors."""
        hidden, memory = parts
        return RAMGRUState(hidden, tuple(m.with_tensors([*p]) for m, p in zip(self.memory, memory)))

    def __getitem__(self, index: Index) -> RAMGRUState:
        if not isinstance(index, slice) and not (isinstance(index, Tensor) and index.dim()):
            index = operator.index(index)  # also of numpy, or of a tensor without a dimension
            if not -self.batch_size <= index < self.batch_size:
                raise IndexError(
                    f"index: expected a sequence in [0, {self.batch_size}), got {index}"
                )
            index = slice(index, index + 1 or None)
        chosen = index
        trace = None if self.trace is None else tuple(t.of_sequences(chosen) for t in self.trace)
        hidden = chosen_of(self.hidden.transpose(0, 1), chosen).transpose(0, 1).contiguous()
        return RAMGRUState(hidden, tuple(m.of_sequences(chosen) for m in self.memory), trace)

    @staticmethod
    def cat(states: Sequence[RAMGRUState]) -> RAMGRUState:
        """The sequences of several states of one layer as one batch; traces are dropped.

        Raises ValueError where the states are of different layers.
        """
        states = list(states)
        if not states:
            raise ValueError("states: expected at least one state, got none")
        if wrong := [s for s in states if not isinstance(s, RAMGRUState)]:
            raise TypeError(f"states: expected RAMGRUStates, got {type(wrong[0]).__name__}")
        shapes = {(s.hidden.shape[0], s.hidden.shape[2], len(s.memory)) for s in states}
        if len(shapes) > 1:
            raise ValueError(
                "states: expected states of one layer, got (layers, hidden_size, memories) of "
                + " and ".join(map(str, sorted(shapes)))
            )
        memories = zip(*(s.memory for s in states))
        return RAMGRUState(
            torch.cat([s.hidden for s in states], dim=1), tuple(map(MemoryState.cat, memories))
        )

    def map(self, function: Callable[[Tensor], Tensor]) -> RAMGRUState:
        """The same with `function` applied to every tensor, those of a trace included."""
        trace = None if self.trace is None else tuple(t.map(function) for t in self.trace)
        return RAMGRUState(
            function(self.hidden), tuple(m.map(function) for m in self.memory), trace
        )

    def detach(self) -> RAMGRUState:
        """The same values without their autograd graph."""
        trace = None if self.trace is None else tuple(t.map(Tensor.detach) for t in self.trace)
        return RAMGRUState(self.hidden.detach(), tuple(m.detach() for m in self.memory), trace)

    def clone(self) -> RAMGRUState:
        return self.map(Tensor.clone)

    def to(
        self,
        device: torch.device | torch.dtype | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> RAMGRUState:
        """Moved to a device, to a floating dtype, or both, as `torch.Tensor.to` takes them: cell
        numbers stay int64, and positions of tape heads, which count steps, stay float64."""
        if isinstance(device, torch.dtype):
            device, dtype = None, device

        def move(x: Tensor) -> Tensor:
            return x.to(device=device, dtype=dtype if x.is_floating_point() else None)

        moved = self.map(move)
        memory = []
        for before, after in zip(self.memory, moved.memory):
            position = before.carried.get("tape")
            kept = {} if position is None else {"tape": position.to(device)}
            memory.append(replace(after, carried={**after.carried, **kept}))
        return replace(moved, memory=tuple(memory))

    def with_cells_of(self, other: RAMGRUState) -> RAMGRUState:
        """The same with the memory's cells of another state of the same layer and batch: what it
        stored, and neither where it was nor what it had just read. Traces are dropped."""
        memory = zip(self.memory, other.memory, strict=True)
        return RAMGRUState(self.hidden, tuple(m.with_cells_of(cells) for m, cells in memory))

    def dense(self) -> RAMGRUState:
        """The same with the rows of all cells, so that its size is independent of the past."""
        return replace(self, memory=tuple(m.dense() for m in self.memory))

    def compact(self) -> RAMGRUState:
        """The same with the rows of changed cells alone: the small form, to keep or to send."""
        return replace(self, memory=tuple(m.compact() for m in self.memory))

    def to_tensor(self) -> Tensor:
        """(L, B, S): one flat row a layer and sequence, for frameworks that know no other state.

        A row holds the hidden vector, the carried tensors of the heads, and the rows of all cells;
        rows of layers that have less are filled up with zeros. Positions are rounded to the dtype
        of the rest.
        """
        rows = []
        for hidden, m in zip(self.hidden, self.memory):
            parts = [hidden, *(v.flatten(1) for v in m.carried.values()), m.dense().rows.flatten(1)]
            dtype = torch.promote_types(hidden.dtype, m.rows.dtype)
            rows.append(torch.cat([part.to(dtype) for part in parts], dim=1))
        size = max(row.shape[1] for row in rows)
        return torch.stack([torch.nn.functional.pad(r, (0, size - r.shape[1])) for r in rows])

    def from_tensor(self, flat: Tensor) -> RAMGRUState:
        """The state that `to_tensor` flattened, flat (L, B, S); this one, of any batch size, gives
        the shapes."""
        B, hidden, memory = flat.shape[1] if flat.dim() == 3 else 0, [], []
        shapes = [_flat_shapes(self.hidden.shape[2], m) for m in self.memory]
        size = max(sum(map(math.prod, each)) for each in shapes)
        if flat.dim() != 3 or flat.shape[::2] != (len(self.memory), size):
            raise ValueError(
                f"flat: expected shape ({len(self.memory)}, B, {size}), got {tuple(flat.shape)}"
            )
        for row, m, each in zip(flat, self.memory, shapes):
            sizes = [math.prod(shape) for shape in each]
            split = row[:, : sum(sizes)].split(sizes, dim=1)
            h, *carried, rows = (p.unflatten(1, shape) for p, shape in zip(split, each))
            hidden.append(h)
            memory.append(
                replace(
                    m,
                    cells=m.cells.new_empty(B, m.rows.shape[1], 0),
                    # A copy: a step that overwrites this state must leave `flat` as it is.
                    rows=rows.to(m.rows.dtype, copy=True).contiguous(),
                    carried={k: v.to(m.carried[k].dtype) for k, v in zip(m.carried, carried)},
                )
            )
        return RAMGRUState(torch.stack(hidden).to(self.hidden.dtype), tuple(memory))

    def cell(self, index: int, *, layer: int = 0, head: int = 0, batch: int = 0) -> Cell:
        """One cell: its state (D,) and, where this state carries a trace, its gate (T,) and its
        activation (T, D) at each step; without a trace these two are empty (T = 0)."""
        for name, value, size in (
            ("layer", layer, len(self.memory)),
            ("head", head, self.memory[0].rows.shape[1]),
            ("batch", batch, self.batch_size),
            ("index", index, self.memory[0].memory_size),
        ):
            if not 0 <= value < size:
                raise IndexError(f"{name}: expected a number in [0, {size}), got {value}")
        if self.trace is not None:
            found: Cell = self.trace[layer].cell(index, head=head, batch=batch)
            return found
        row = self.memory[layer].row(index, batch, head)
        return Cell(row, row.new_zeros(0), row.new_zeros(0, len(row)))

    def save(self, path: str | Path) -> Path:
        """Write the state, without a trace, to a safetensors file, which is whole or not there."""
        sizes = [m.memory_size for m in self.memory]
        return save_tensors(path, "ramgru_state", sizes, named(self.compact()))

    @staticmethod
    def load(path: str | Path, device: torch.device | str = "cpu") -> RAMGRUState:
        """The state that `save` wrote; nothing in the file is executed.

        Raises CheckpointError: the file is missing, broken, or holds something else.
        """
        return load_tensors(path, "ramgru_state", device, from_named)

    def __repr__(self) -> str:
        L, B, C = self.hidden.shape
        first = self.memory[0]
        _, H, D = first.sizes
        all_rows = first.held is None and first.is_dense
        held = "all stored" if all_rows else "the used ones stored"
        traced = ", with a trace" if self.trace is not None else ""
        return (
            f"RAMGRUState(batch_size={B}, layers={L}, hidden_size={C}, heads={H}, "
            f"cells={first.memory_size} of width {D}, {held}, dtype={self.hidden.dtype}{traced})"
        )


def _flat_shapes(hidden_size: int, m: MemoryState) -> list[tuple[int, ...]]:
    carried = [tuple(value.shape[1:]) for value in m.carried.values()]
    return [(hidden_size,), *carried, (m.rows.shape[1], m.memory_size, m.rows.shape[3])]


def named(state: RAMGRUState) -> dict[str, Tensor]:
    """The tensors of a state by the names that files use."""
    tensors = {"hidden": state.hidden}
    for n, m in enumerate(state.memory):
        of_memory = {"cells": m.cells, "rows": m.rows}
        of_memory |= {f"carried.{kind}": value for kind, value in m.carried.items()}
        if m.fresh is not None:
            of_memory |= {"fresh_left": m.fresh[0], "fresh_right": m.fresh[1]}
        tensors |= {f"memory.{n}.{name}": value for name, value in of_memory.items()}
    return tensors


def from_named(tensors: dict[str, Tensor], sizes: Sequence[Any]) -> RAMGRUState:
    """The state that `named` took apart; sizes: N of each memory. Raises ValueError or KeyError
    where the tensors do not fit together."""
    memory = []
    for n, size in enumerate(size for size in sizes if isinstance(size, int)):
        mine = _under(f"memory.{n}.", tensors)
        fresh = (mine.get("fresh_left"), mine.get("fresh_right"))
        carried = _under("carried.", mine)
        memory.append(MemoryState(mine["cells"], mine["rows"], size, carried, *fresh))
    return _whole(RAMGRUState(tensors["hidden"], tuple(memory)))


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _whole(state: RAMGRUState) -> RAMGRUState:
    """A state from a file, if its tensors fit together."""
    L, B, _ = state.hidden.shape
    for m in state.memory:
        (b, heads, P), (*same, R, _) = m.cells.shape, m.rows.shape
        outside = (m.cells < -1) | (m.cells >= m.memory_size)
        if (
            not (b == B and same == [b, heads] and R in (P, m.memory_size) and m.memory_size >= P)
            or any(len(value) != B for value in m.carried.values())
            or m.cells.dtype != torch.int64
            or bool(outside.any())
        ):
            raise ValueError("its tensors do not fit together")
    if len(state.memory) != L:
        raise ValueError(f"it has {len(state.memory)} memories for {L} hidden vectors")
    return state


def save_tensors(
    path: str | Path, kind: str, values: Sequence[Any], tensors: dict[str, Tensor]
) -> Path:
    """Write tensors to a safetensors file with a digest. kind: names `values` in its header."""
    safetensors = files.safetensors()
    plain = {name: value.detach().contiguous() for name, value in tensors.items()}
    header = {kind: json.dumps([*values, files.UNSEALED])}
    return files.write(path, files.sealed(safetensors.torch.save(plain, header)))


Made = TypeVar("Made")


def load_tensors(
    path: str | Path,
    kind: str,
    device: torch.device | str,
    make: Callable[[dict[str, Tensor], Sequence[Any]], Made],
) -> Made:
    """What `make` builds from the tensors and values that `save_tensors` wrote. Raises
    CheckpointError: the file is missing, broken, or holds something else."""
    safetensors = files.safetensors()
    try:
        files.check_seal(path)
        with safetensors.safe_open(str(path), "pt", device=str(device)) as file:
            values = files.parse_json((file.metadata() or {})[kind])
            # Copies: bits of a product depend on where in memory its factors begin.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118
        return make(tensors, values)
    except FileNotFoundError as error:
        raise CheckpointError(f"{path} is missing") from error
    except (OSError, KeyError, ValueError, TypeError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} holds no state that ramgru saved: {error}") from error


# Tensors and sizes only, so that `torch.load` reads a saved state as it reads weights.
torch.serialization.add_safe_globals([RAMGRUState, MemoryState])


def _register_pytrees() -> None:
    """Let torch.export, torch.func and torch.utils.checkpoint look into states."""

    def memory_parts(m: MemoryState) -> tuple[list[Any], Any]:
        return [*m], [m.memory_size, [*m.carried], m.fresh is not None]

    def memory(parts: Any, context: Any) -> MemoryState:
        cells, rows, *rest = parts
        size, kinds, _ = context
        return MemoryState(cells, rows, size, dict(zip(kinds, rest)), *rest[len(kinds) :])

    def state_parts(s: RAMGRUState) -> tuple[list[Any], Any]:
        parts = [s.hidden, s.memory]
        return (parts if s.trace is None else [*parts, s.trace]), s.trace is not None

    def state(parts: Any, _: Any) -> RAMGRUState:
        return RAMGRUState(*parts)

    keyed = torch.utils._pytree.SequenceKey
    for kind, flatten, unflatten in (
        (MemoryState, memory_parts, memory),
        (RAMGRUState, state_parts, state),
    ):

        def with_keys(x: Any, flatten: Any = flatten) -> tuple[list[Any], Any]:
            parts, context = flatten(x)
            return [(keyed(n), part) for n, part in enumerate(parts)], context

        torch.utils._pytree.register_pytree_node(
            kind,
            flatten,
            unflatten,
            serialized_type_name=f"ramgru.{kind.__name__}",
            to_dumpable_context=lambda context: context,
            from_dumpable_context=lambda context: context,
            flatten_with_keys_fn=with_keys,
        )


_register_pytrees()
