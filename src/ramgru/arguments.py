"""Checks of the arguments that `nn.GRU` does not have: each error names the argument, the value
that came and the values expected."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor
from torch.utils.weak import WeakIdKeyDictionary

from ramgru.config import Memory
from ramgru.kernels.transforms import is_readable
from ramgru.state import MemoryState, RAMGRUState

CARRY = ("hidden", "state", "flat")


def unknown_argument(name: str) -> str:
    """A sentence about an argument that `RAMGRU` does not have."""
    options = {option.name for option in fields(Memory)}
    former = {"memory_size": "cells", "num_heads": "heads", "top_k": "reads", "head_size": "width"}
    option = former.get(name, name)
    hint = f"; the memory's options go in memory=Memory({option}=…)" if option in options else ""
    return f"RAMGRU has no argument {name!r}{hint}"


def check_memory(memory: Any) -> None:
    if not isinstance(memory, Memory):
        raise TypeError(
            "memory: expected a ramgru.Memory, as in Memory(cells=4096, heads='key key:2'), "
            f"got {type(memory).__name__}: {memory!r}"
        )


def check_carry(carry: Any) -> None:
    if carry not in CARRY:
        raise ValueError(f"carry: expected one of {CARRY}, got {carry!r}")


def check_hx(hx: Any) -> None:
    """Whether hx is a tensor, or a state as nested tuples: (hidden, memories)."""
    if isinstance(hx, Tensor):
        return
    forms = "a tensor h_0, a RAMGRUState or None"
    if isinstance(hx, tuple | list) and len(hx) == 2 and isinstance(hx[0], Tensor):
        if isinstance(hx[1], Tensor):
            raise TypeError(
                f"hx: expected {forms}, got two tensors, as an LSTM's (h_0, c_0): give h_0 alone"
            )
        if isinstance(hx[1], tuple | list) and all(map(_is_memory, hx[1])):
            return
    raise TypeError(f"hx: expected {forms}, got {kind_of(hx)}")


def _is_memory(part: Any) -> bool:
    tensors = isinstance(part, tuple | list) and all(isinstance(x, Tensor) for x in part)
    return tensors or isinstance(part, MemoryState)


def kind_of(value: Any) -> str:
    """The type of a value for messages, with the remedy for arrays."""
    kind = f"{type(value).__module__}.{type(value).__name__}".removeprefix("builtins.")
    return kind + ("; torch.from_numpy makes it one" if kind == "numpy.ndarray" else "")


def memory_shape(m: MemoryState) -> tuple[int, ...]:
    """Cells, heads, width, and the shapes of the carried tensors, without the batch."""
    return (
        m.memory_size,
        *(m.rows.shape[1::2] if m.held is None else m.sizes[1:]),
        *(n for v in m.carried.values() for n in v.shape[1:]),
    )


# The cell numbers that were checked, or that a kernel made, at these versions of the tensors.
_checked: MutableMapping[Tensor, int] = WeakIdKeyDictionary()


def trust(state: RAMGRUState) -> None:
    """Note that the layer made this state, whose cells it need not check when they come back."""
    for m in state.memory:
        if (
            m.held is None
            and is_readable(m.cells)
            and not m.cells.is_inference()
            and m.cells.numel()
        ):
            _checked[m.cells] = m.cells._version


def check_state(state: Any, start: RAMGRUState) -> None:
    """Whether a state is whole and of the layer whose fresh state is `start`, of any batch size."""
    if not isinstance(state, RAMGRUState):
        raise TypeError(f"state: expected a RAMGRUState, got {kind_of(state)}")
    for n, m in enumerate(state.memory):
        if m.held is None and not all(isinstance(t, Tensor) for t in m):
            raise TypeError(f"state.memory[{n}]: expected tensors, got {[*map(kind_of, m)]}")
    expected, found = ([memory_shape(m) for m in s.memory] for s in (start, state))
    kinds = [[[*m.carried] for m in s.memory] for s in (start, state)]
    if found != expected or kinds[0] != kinds[1]:
        raise ValueError(
            "state: expected one of this layer, with (cells, heads, width, carried sizes) of "
            f"{expected} for its memories, got {found}"
        )
    if state.hidden.dim() != 3 or state.hidden.device != start.hidden.device:
        raise ValueError(
            f"state.hidden: expected (layers, B, hidden_size) on {start.hidden.device}, "
            f"got shape {tuple(state.hidden.shape)} on {state.hidden.device}"
        )
    for n, (m, own) in enumerate(zip(state.memory, start.memory)):
        _check_memory(f"state.memory[{n}]", m, own, state.hidden.shape[1])


def _check_memory(name: str, m: MemoryState, own: MemoryState, batch: int) -> None:
    heads, width = own.rows.shape[1::2]
    shapes: dict[str, tuple[Tensor, Tensor, tuple[int, ...]]] = {}
    if m.held is None or m.sizes[0] != batch or own.rows.device.type != "cpu":
        places = m.cells.shape[-1] if m.cells.dim() == 3 else 0
        number = m.memory_size if places == 0 and m.rows.shape[2:3] != (0,) else places
        shapes["cells"] = m.cells, own.cells, (batch, heads, places)
        shapes["rows"] = m.rows, own.rows, (batch, heads, number, width)
    for kind, value in m.carried.items():
        like = own.carried[kind]
        shapes[f"carried[{kind!r}]"] = (value, like, (batch, *like.shape[1:]))
    for part, (value, like, shape) in shapes.items():
        if tuple(value.shape) != shape:
            raise ValueError(f"{name}.{part}: expected shape {shape}, got {tuple(value.shape)}")
        if value.device != like.device:
            raise ValueError(f"{name}.{part}: expected {like.device}, got {value.device}")
        if value.dtype != like.dtype and not (
            value.is_floating_point() and like.is_floating_point()
        ):
            raise TypeError(f"{name}.{part}: expected {like.dtype}, got {value.dtype}")
    left, right = m.fresh_left, m.fresh_right
    if (left is None) != (right is None):
        raise ValueError(f"{name}: expected fresh_left and fresh_right, or none of them")
    if left is not None and right is not None:
        fits = left.dim() == right.dim() == 3 and left.shape[1] * right.shape[1] >= m.memory_size
        if not fits or any(f.shape[::2] != own.rows.shape[1::2] for f in (left, right)):
            raise ValueError(
                f"{name}.fresh_left, fresh_right: expected ({heads}, R, {width}) and "
                f"({heads}, C, {width}) with R·C of {m.memory_size} or more, "
                f"got {tuple(left.shape)} and {tuple(right.shape)}"
            )
    if m.held is None and m.cells.numel() and is_readable(m.cells):
        _check_cells(f"{name}.cells", m.cells, m.memory_size)


def _check_cells(name: str, cells: Tensor, number: int) -> None:
    """Whether each place is unused, -1, or has a cell of its own in [0, number)."""
    counted = not cells.is_inference()  # tensors of inference mode count no changes
    trusted = counted and _checked.get(cells) == cells._version
    if trusted and not cells.is_cpu:  # where reading them waits for the device
        return
    # On the CPU only the order is taken on trust: `.data` and numpy count no changes either.
    low, high = (int(v) for v in torch.aminmax(cells))
    if low < -1 or high >= number:
        raise ValueError(
            f"{name}: expected numbers in [0, Memory.cells = {number}), or -1 for unused places, "
            f"got {low if low < -1 else high}"
        )
    if trusted:
        return
    order = cells.sort(dim=-1).values
    if bool(((order[..., 1:] == order[..., :-1]) & (order[..., 1:] >= 0)).any()):
        raise ValueError(f"{name}: expected each cell once, got one twice")
    if counted:
        _checked[cells] = cells._version


def check_checkpoint_every(steps: int | None, bidirectional: bool) -> None:
    if steps is None:
        return
    if not isinstance(steps, int) or isinstance(steps, bool):
        raise TypeError(f"checkpoint_every: expected an int or None, got {type(steps).__name__}")
    if steps < 1:
        raise ValueError(f"checkpoint_every: expected at least 1 step, got {steps}")
    if bidirectional:
        raise ValueError("checkpoint_every: expected one direction, got bidirectional=True")


def check_lengths(
    lengths: Tensor | None, batch: int, steps: int, device: torch.device
) -> Tensor | None:
    """-> lengths as int64 on the device of the input."""
    if lengths is None:
        return None
    try:
        lengths = torch.as_tensor(lengths)
    except (TypeError, ValueError, RuntimeError) as error:
        raise TypeError(f"lengths: expected integers, got {lengths!r}") from error
    if lengths.dtype == torch.bool or lengths.is_floating_point():
        raise TypeError(f"lengths: expected integers, got {lengths.dtype}")
    if tuple(lengths.shape) != (batch,):
        raise ValueError(f"lengths: expected shape ({batch},), got {tuple(lengths.shape)}")
    if is_readable(lengths) and lengths.numel():
        low, high = int(lengths.min()), int(lengths.max())
        if low < 0 or high > steps:
            raise ValueError(
                f"lengths: expected numbers in [0, {steps}], the steps of the input, "
                f"got {low if low < 0 else high}"
            )
    return lengths.to(device=device, dtype=torch.int64)


def check_reset(reset: Tensor | None, batch: int, steps: int) -> None:
    if reset is None:
        return
    if not isinstance(reset, Tensor):
        raise TypeError(f"reset: expected a tensor of bool, got {type(reset).__name__}")
    if reset.dtype != torch.bool:
        raise TypeError(f"reset: expected bool, got {reset.dtype}")
    if tuple(reset.shape) != (batch, steps):
        raise ValueError(
            f"reset: expected one flag for each of {batch} sequences and {steps} steps, "
            f"got shape {tuple(reset.shape)}"
        )


def check_index(
    name: str, index: Tensor | None, batch: int, steps: int, heads: int, cells: int
) -> Tensor | None:
    """-> the addresses of every head, (B, T, H, K), from (B, T), (B, T, H) or (B, T, H, K)."""
    if index is None:
        return None
    if not isinstance(index, Tensor):
        raise TypeError(f"{name}: expected a tensor of int64, got {type(index).__name__}")
    if index.dtype != torch.int64:
        raise TypeError(f"{name}: expected int64, got {index.dtype}")
    shape = tuple(index.shape)
    head = (batch, steps, heads)
    if shape[:3] != head[: len(shape)] or not 2 <= len(shape) <= 4 or 0 in shape[3:]:
        raise ValueError(
            f"{name}: expected {batch} sequences and {steps} steps, then nothing, ({heads},) heads "
            f"or ({heads}, K) addresses, got shape {shape}"
        )
    if is_readable(index) and index.numel():
        low, high = int(index.min()), int(index.max())
        if low < -1 or high >= cells:
            raise IndexError(
                f"{name}: expected cells in [0, Memory.cells = {cells}), or -1 for no access, "
                f"got {low if low < -1 else high}"
            )
    if index.dim() == 2:
        index = index.unsqueeze(-1).expand(head)
    return index.unsqueeze(-1) if index.dim() == 3 else index
