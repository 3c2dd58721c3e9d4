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

from ramgru.kernels.dispatch import CPU, are_plain
from ramgru.kernels.layer_step import OPERATION, Constants, layer_step_
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
            context, output = memory.carried["key"].contiguous(), y.new_empty(B, C)
            after = torch.empty_like(context)
            rows = memory.rows.detach() if memory.rows.requires_grad else memory.rows
            h, h_next = (hidden, next_hidden) if L == 1 else (hidden[n], next_hidden[n])
            layer_step_(plan.constants, B, y, h, context, rows, output, h_next, after)
            # By its constructor: dataclasses.replace takes a tenth of the step's time.
            carried, fresh = {"key": after}, (memory.fresh_left, memory.fresh_right)
            memories.append(MemoryState(memory.cells, rows, memory.memory_size, carried, *fresh))
            y = output
    return y, RAMGRUState(next_hidden, tuple(memories))


@dataclass
class _Plan:
    """The arguments that the steps of one layer have in common."""

    modules: list[tuple[dict[str, Any], str, nn.Module]]  # where each module was found
    weights: list[Place | None]
    storage: list[int]  # where the weights lie in memory
    sources: list[Place]  # the tensors of the key heads that constants were computed from
    contents: list[Any]  # where those lie, and their versions
    constants: Constants
    hidden_size: int
    cells: tuple[int, int, int]  # H, N, D
    context: tuple[int, int]  # window, I
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
        rows, context = memory.rows, memory.carried.get("key")
        return (
            context is not None
            and memory.is_dense
            and rows.dtype == context.dtype == self.dtype
            and rows.shape == (batch, *self.cells)
            and context.shape == (batch, *self.context)
            and rows.is_contiguous()
            and rows.device.type == "cpu"
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
    linears = {
        name: getattr(memory, name)
        for name in ("candidate", "update_gate", "output_gate", "read_out")
    }
    if list(memory.heads) != ["key"] or any(type(m) is not Projection for m in linears.values()):
        return None
    keys = memory.heads["key"]
    if len(keys.groups) > 1 or memory.memory.tag:
        return None
    modules = [(memory.heads._modules, "key", keys)]
    modules += [(memory._modules, name, module) for name, module in linears.items()]
    sources = keys.step_sources()
    weights = [*part.weights, *memory.step_tensors(), (keys._parameters, "sharpness")]
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
    H, N, D = memory.num_heads, memory.memory.cells, memory.width
    constants = Constants(
        I=part.input_size,
        C=linears["output_gate"].out_features,
        H=H,
        N=N,
        D=D,
        K=keys.writes[0],
        J=keys.reads[0],
        window=keys.window + 1,
        F=FEATURES,
        controller=part.controller,
        offsets=keys.write_after,
        skips=[head.skip for head in keys.heads],
        spans=[head.steps for head in keys.heads],
        sizes=keys.sizes,
        weights=storage,
        keys=keys.step_constants(),
        dtype=dtype,
    )
    hidden_size = linears["output_gate"].out_features
    context = (keys.window, part.input_size)
    plan = _Plan(
        modules,
        weights,
        storage,
        sources,
        contents,
        constants,
        hidden_size,
        (H, N, D),
        context,
        dtype,
    )
    _plans[memory] = plan
    return plan if plan.is_valid(dtype) else None
