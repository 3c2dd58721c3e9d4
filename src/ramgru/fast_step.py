"""One step of a stream as one native call a layer: the fast path of streams.

A step takes microseconds, so everything that stays the same between steps is looked up once and
kept in a cache (`_Plan`), valid while the weights' storage is unchanged. B sequences, I inputs,
C hidden units, L layers, H heads, N cells of width D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ramgru.config import ContentHead, Lag, Tape
from ramgru.kernels.dispatch import CPU, are_plain
from ramgru.kernels.layer_step import CONTROLLERS, OPERATION, Constants, Keys, layer_step_
from ramgru.kernels.projection import Projection
from ramgru.keys import FEATURES, autocasts
from ramgru.memory import RandomAccessMemory
from ramgru.state import MemoryState, RAMGRUState

# A tensor as a part of a layer owns it: a dictionary of the module, and the tensor's name in it.
Place = tuple[dict[str, Any], str]


@dataclass(frozen=True)
class Part:
    """One layer of a stack, as the layer hands it over: its controller and its memory."""

    controller: str
    input_size: int
    weights: list[Place | None]  # weight_ih, weight_hh, bias_ih, bias_hh; None: the layer has none
    memory: RandomAccessMemory


def step_(
    parts: Sequence[Part], x: Tensor, state: RAMGRUState
) -> tuple[Tensor, RAMGRUState] | None:
    """x (B, I) -> output (B, C) and the next state; the cells of `state` are overwritten.

    Returns None if an option or a tensor is unsupported: the general path then runs, or raises.
    """
    if not isinstance(x, Tensor) or not isinstance(state, RAMGRUState):
        return None
    (L, B, C), dtype = state.hidden.shape, x.dtype
    if not (B and OPERATION.choose(x).path == CPU) or autocasts("cpu"):
        return None
    if len(parts) != L or state.hidden.dtype != dtype or x.shape != (B, parts[0].input_size):
        return None
    plans = []
    for part, memory in zip(parts, state.memory):
        plan = _plan(part, dtype)
        if plan is None or plan.hidden_size != C or not plan.fits(memory, B):
            return None
        plans.append(plan)
    with torch.no_grad():
        hidden, y = state.hidden.contiguous(), x.contiguous()
        next_hidden, memories = torch.empty_like(hidden), []
        for n, (plan, memory) in enumerate(zip(plans, state.memory)):
            carried = {kind: memory.carried[kind].contiguous() for kind in plan.carried}
            after = {kind: torch.empty_like(value) for kind, value in carried.items()}
            output = y.new_empty(B, C)
            rows = memory.rows.detach() if memory.rows.requires_grad else memory.rows
            h, h_next = (hidden, next_hidden) if L == 1 else (hidden[n], next_hidden[n])
            layer_step_(plan.constants, B, y, h, rows, carried, output, h_next, after)
            # By its constructor: dataclasses.replace takes a tenth of the step's time.
            fresh = memory.fresh_left, memory.fresh_right
            memories.append(MemoryState(memory.cells, rows, memory.memory_size, after, *fresh))
            y = output
    return y, RAMGRUState(next_hidden, tuple(memories))


@dataclass
class _Plan:
    """The arguments that the steps of one layer have in common."""

    modules: list[tuple[dict[str, Any], str, nn.Module]]  # where each module was found
    weights: list[Place | None]
    storage: list[int]  # where the weights lie in memory
    sources: list[Place]  # the tensors that constants were computed from
    contents: list[Any]  # where those lie, and their versions
    constants: Constants
    hidden_size: int
    cells: tuple[int, int, int]  # H, N, numbers of a cell
    carried: dict[str, tuple[tuple[int, ...], torch.dtype]]  # by kind of head
    dtype: torch.dtype

    def is_valid(self, dtype: torch.dtype) -> bool:
        """Whether nothing was replaced, hooked or moved since."""
        for owner, name, module in self.modules:
            if owner.get(name) is not module or module._forward_hooks or module._forward_pre_hooks:
                return False
        for place, where in zip(self.weights, self.storage):
            w = None if place is None else place[0].get(place[1])
            if w is not None and (w.data_ptr() != where or not w.is_contiguous()):
                return False
            if w is None and where:
                return False
        return dtype == self.dtype and self.contents == _contents(_found(self.sources))

    def fits(self, memory: MemoryState, batch: int) -> bool:
        """Whether a state is as the kernel takes it, which does not check again."""
        rows, carried = memory.rows, memory.carried
        return (
            memory.is_dense
            and rows.dtype == self.dtype
            and rows.shape == (batch, *self.cells)
            and rows.is_contiguous()
            and rows.device.type == "cpu"
            and carried.keys() == self.carried.keys()
            and all(
                carried[kind].shape == (batch, *shape) and carried[kind].dtype == dtype
                for kind, (shape, dtype) in self.carried.items()
            )
        )


_plans: WeakKeyDictionary[RandomAccessMemory, _Plan] = WeakKeyDictionary()


def _found(places: Sequence[Place | None]) -> list[Tensor | None]:
    return [None if place is None else place[0].get(place[1]) for place in places]


def _storage(weights: Sequence[Tensor | None]) -> list[int]:
    return [0 if w is None else w.data_ptr() for w in weights]


def _contents(tensors: Sequence[Tensor | None]) -> list[Any]:
    """Equal as long as no tensor is replaced or changed in place."""
    return [
        # Tensors of inference mode count no changes: object() equals nothing.
        t if t is None else object() if t.is_inference() else (t.data_ptr(), t._version)
        for t in tensors
    ]


def _plan(part: Part, dtype: torch.dtype) -> _Plan | None:
    """The cached plan, or a new one; None where the native step does not support the layer."""
    memory: Any = part.memory
    plan = _plans.get(memory)
    if plan is not None and plan.is_valid(dtype):
        return plan
    names = ("candidate", "update_gate", "output_gate", "read_out")
    modules = [(memory._modules, name, getattr(memory, name)) for name in names]
    if "tape" in memory.heads:
        moves = memory.heads["tape"].moves
        modules.append((memory.heads["tape"]._modules, "moves", moves))
    if any(type(module) is not Projection for *_, module in modules):
        return None
    modules += [(memory.heads._modules, kind, heads) for kind, heads in memory.heads.items()]
    weights = [*part.weights, *memory.step_tensors()]
    sources = [
        place
        for kind in ("key", "lag")
        if kind in memory.heads
        for place in memory.heads[kind].step_sources()
    ]
    needed = _found([place for place in (*weights, *sources) if place is not None])
    if (
        any(w is None for w in needed)  # computed, as by a parametrization
        or not are_plain(*needed)
        or not all(
            w is not None and w.dtype == dtype and w.is_contiguous() and w.device.type == "cpu"
            for w in needed
        )
    ):
        return None
    storage, contents = _storage(_found(weights)), _contents(_found(sources))
    start = memory.initial_state(1)
    plan = _Plan(
        modules,
        weights,
        storage,
        sources,
        contents,
        _constants(part, storage, dtype),
        memory.output_gate.out_features,
        (memory.num_heads, memory.memory.cells, memory.row_width),
        {kind: (value.shape[1:], value.dtype) for kind, value in start.carried.items()},
        dtype,
    )
    _plans[memory] = plan
    return plan if plan.is_valid(dtype) else None


def _constants(part: Part, storage: list[int], dtype: torch.dtype) -> Constants:
    memory: Any = part.memory
    options, heads = memory.memory, memory.heads
    kinds = [len(options.of_kind(kind)) for kind in (ContentHead, Lag, Tape)]
    sizes = (part.input_size, memory.output_gate.out_features, memory.num_heads, options.cells)
    keys, lags, ring = Keys(), None, 0
    if "key" in heads:
        found = heads["key"]
        keys = Keys(
            window=found.window + 1,
            features=FEATURES,
            writes=found.writes,
            reads=found.reads,
            offsets=found.write_after,
            skips=[head.skip for head in found.heads],
            spans=[head.steps for head in found.heads],
            sizes=found.sizes,
            tensors=found.step_constants(),
        )
    if "lag" in heads:
        lags, ring = heads["lag"].best(), heads["lag"].ring
    controller = CONTROLLERS.index(part.controller)
    layer = (*sizes, memory.width, options.tag, controller, *kinds)
    return Constants(layer, storage, keys, lags, ring, dtype)
