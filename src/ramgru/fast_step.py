"""One step of a stream as one native call a layer: the fast path of streams.

A step takes microseconds, so everything that stays the same between steps is looked up once and
kept in a cache (`Plan`), valid while weights and modules are unchanged. B sequences, I inputs,
C hidden units, L layers, H heads, N cells of width D.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module

from ramgru.config import ContentHead, Lag, Tape
from ramgru.kernels.dispatch import CPU, WRAPPED, are_plain
from ramgru.kernels.layer_step import CONTROLLERS, OPERATION, Constants, Keys, layer_step_
from ramgru.kernels.memory_scan.table import MOST_CELLS
from ramgru.kernels.projection import Projection
from ramgru.keys import FEATURES, autocasts
from ramgru.memory import ADDRESSES, RandomAccessMemory
from ramgru.memory_state import MemoryState
from ramgru.state import RAMGRUState
from ramgru.versions import Held, Version

_CLASSES = {RandomAccessMemory, Projection, nn.ModuleDict, *ADDRESSES.values()}

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
    parts: Sequence[Part],
    x: Tensor,
    state: RAMGRUState | None,
    reset: Tensor | None = None,  # (B,) bool
    keep: bool = False,
) -> tuple[Tensor, RAMGRUState] | None:
    """x (B, I) -> output (B, C) and the next state; the cells of `state` are overwritten.

    keep: the state stays as it is, and the step notes what it overwrites (`versions`)

    Returns None if an option or a tensor is unsupported: the general path then runs, or raises.
    No cell is written before everything is checked.
    """
    if not isinstance(x, Tensor) or not isinstance(state, RAMGRUState):
        return None
    if OPERATION.choose(x, state.hidden).path != CPU or state.hidden.dim() != 3 or autocasts("cpu"):
        return None
    (L, B, C), dtype = state.hidden.shape, x.dtype
    if len(parts) != L or state.hidden.dtype != dtype or x.shape != (B, parts[0].input_size):
        return None
    if not B or len(state.memory) != L:
        return None
    plans = []
    for part, memory in zip(parts, state.memory):
        plan = _plan(part, dtype)
        if isinstance(plan, str) or plan.hidden_size != C or not plan.fits(memory, B, keep):
            return None
        plans.append(plan)
    if reset is not None:
        if not are_plain(reset) or reset.dtype != torch.bool or reset.shape != (B,):
            return None
        if bool(reset.any()):
            if keep:
                return None
            state = begin_anew(parts, state, reset)
    # No operation here has a gradient: kernels read addresses, and results are new tensors.
    hidden, y = state.hidden.contiguous(), x.contiguous()
    next_hidden, memories = torch.empty_like(hidden), []
    for n, (plan, memory) in enumerate(zip(plans, state.memory)):
        carried = {kind: memory.carried[kind].contiguous() for kind in plan.carried}
        after = {kind: torch.empty_like(value) for kind, value in carried.items()}
        output = y.new_empty(B, C)
        h, h_next = (hidden, next_hidden) if L == 1 else (hidden[n], next_hidden[n])
        run = partial(layer_step_, plan.constants, B, y, h)
        results = carried, output, h_next, after
        if keep or memory.held is not None:
            version = _version(memory).overwritten(run, results, plan.constants.most)
            memories.append(memory.with_held(Held(version), after))
        else:
            rows = memory.rows.detach() if memory.rows.requires_grad else memory.rows
            run(rows, *results)
            # By its constructor: dataclasses.replace takes a tenth of the step's time.
            fresh = memory.fresh_left, memory.fresh_right
            memories.append(MemoryState(memory.cells, rows, memory.memory_size, after, *fresh))
        y = output
    return y, RAMGRUState(next_hidden, tuple(memories))


def _version(memory: MemoryState) -> Version:
    if memory.held is not None:
        return memory.held.settled().version
    return Version.of(memory.memory_size, memory.cells, memory.rows, memory.fresh)


@torch.no_grad()
def begin_anew(parts: Sequence[Part], state: RAMGRUState, reset: Tensor) -> RAMGRUState:
    """The state with some sequences fresh; the rows of plain memories are overwritten."""
    B, hidden, memories = len(reset), state.hidden.clone(), []
    hidden[:, reset] = 0
    for part, memory in zip(parts, state.memory):
        start = part.memory.initial_state(B).carried
        carried = {kind: value.clone() for kind, value in memory.carried.items()}
        for kind, value in carried.items():
            value[reset] = start[kind][reset]
        if memory.held is not None:
            memories.append(memory.with_held(memory.held.settled().begin_anew(reset), carried))
            continue
        for b in reset.nonzero().flatten().tolist():
            if memory.fresh is None:
                memory.rows[b].zero_()
            else:
                memory.rows[b] = memory.fresh_rows()
        memories.append(replace(memory, carried=carried))
    return RAMGRUState(hidden, tuple(memories))


def plans_for(parts: Sequence[Part], state: RAMGRUState) -> list[Plan] | None:
    """The plans of the last native step, if they still hold and take this state."""
    L, B, C = state.hidden.shape
    plans = [_plans.get(part.memory) for part in parts]
    if len(plans) != L or len(state.memory) != L:
        return None
    found = [plan for plan in plans if plan is not None and plan.is_valid(state.hidden.dtype)]
    fit = len(found) == L and all(
        plan.hidden_size == C and memory.held is None and plan.fits(memory, B, keep=False)
        for plan, memory in zip(found, state.memory)
    )
    return found if fit else None


def refusal(parts: Sequence[Part], dtype: torch.dtype) -> str:
    """Why the native step does not run these layers; empty if it does."""
    if not parts:
        return "a bidirectional layer has no steps"
    plans = (_plan(part, dtype) for part in parts)
    return next((plan for plan in plans if isinstance(plan, str)), "")


@dataclass(frozen=True)
class _Tensors:
    """Tensors as they were found: held here, so that whatever replaces them, their memory stays."""

    owners: list[dict[str, Any]]
    names: list[str]
    found: list[Tensor]
    held: list[Tensor]  # the same numbers, for as long as this object lives

    @staticmethod
    def at(places: Sequence[Any]) -> _Tensors | None:
        """None if one is missing, as where it is computed by a parametrization or by pruning."""
        found: list[Any] = [owner.get(name) for owner, name in places]
        if any(t is None for t in found):
            return None
        held = [t.detach() for t in found]
        return _Tensors([o for o, _ in places], [n for _, n in places], found, held)

    def and_(self, other: _Tensors) -> _Tensors:
        return _Tensors(
            self.owners + other.owners,
            self.names + other.names,
            self.found + other.found,
            self.held + other.held,
        )

    def are_there(self) -> bool:
        """Whether the same tensors are in the same places, with the same memory, shape and sign."""
        found = map(dict.get, self.owners, self.names)
        return all(map(operator.is_, found, self.found)) and all(
            map(Tensor.is_set_to, self.found, self.held)
        )


@dataclass
class Plan:
    """The arguments that the steps of one layer have in common."""

    modules: list[_Module]
    tensors: _Tensors  # weights, and the tensors that constants were computed from
    absent: list[Place]  # weights that the layer does without
    sources: list[Tensor]  # what constants were computed from
    versions: list[int]
    constants: Constants
    hidden_size: int
    cells: tuple[int, int, int]  # H, N, numbers of a cell
    carried: dict[str, tuple[tuple[int, ...], torch.dtype]]  # by kind of head
    start: list[torch.Size | None]  # shapes of the factors of a learned start
    starts: bool  # whether there are any
    dtype: torch.dtype

    def is_valid(self, dtype: torch.dtype) -> bool:
        """Whether nothing was replaced, hooked or moved since."""
        return (
            dtype == self.dtype
            and not (torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks)
            and _are_there(self.modules)
            and self.tensors.are_there()
            and _versions(self.sources) == self.versions
            and all(owner.get(name) is None for owner, name in self.absent)
        )

    def fits(self, memory: MemoryState, batch: int, keep: bool) -> bool:
        """Whether a state is as the kernel takes it, which does not check again."""
        carried, number = memory.carried, self.cells[1]
        if (
            carried.keys() != self.carried.keys()
            or not are_plain(*carried.values())
            or memory.memory_size != number
            or not self._takes_rows(memory, batch, keep)
            or (
                (memory.fresh_left is not None or memory.fresh_right is not None or self.starts)
                and [*map(_shape, (memory.fresh_left, memory.fresh_right))] != self.start
            )
        ):
            return False
        for kind, (shape, dtype) in self.carried.items():
            value = carried[kind]
            if value.shape != (batch, *shape) or value.dtype is not dtype or not value.is_cpu:
                return False
        return True

    def _takes_rows(self, memory: MemoryState, batch: int, keep: bool) -> bool:
        heads, number, width = self.cells
        if number > MOST_CELLS and keep:
            return False
        if memory.held is not None:
            table = memory.held.version.table
            return table.rows.dtype is self.dtype and memory.sizes == (batch, heads, width)
        rows, cells = memory.rows, memory.cells
        return (
            are_plain(rows, cells)
            and rows.dtype is self.dtype
            and rows.is_cpu
            and rows.shape[:2] + rows.shape[3:] == (batch, heads, width)
            and cells.shape[:2] == (batch, heads)
            and (
                (cells.shape[2] == 0 and rows.shape[2] == number and rows.is_contiguous())  # dense
                or (keep and cells.shape[2] == rows.shape[2])
            )
        )


_plans: WeakKeyDictionary[RandomAccessMemory, Plan] = WeakKeyDictionary()


class _Module(NamedTuple):
    """A module where it was found, without hooks or functions of its own."""

    owner: dict[str, Any] | None  # where it has its name; None: a memory, which no plan must hold
    name: str
    module: nn.Module | None
    own: dict[str, Any]  # its attributes
    attributes: int

    @staticmethod
    def at(module: nn.Module, owner: dict[str, Any] | None, name: str) -> _Module:
        own = vars(module)
        return _Module(owner, name, None if owner is None else module, own, len(own))


def _are_there(modules: Sequence[_Module]) -> bool:
    for owner, name, module, own, attributes in modules:
        if (
            own["_forward_hooks"]
            or own["_forward_pre_hooks"]
            or len(own) != attributes
            or (owner is not None and owner.get(name) is not module)
        ):
            return False
    return True


def has_own_forward(module: nn.Module) -> bool:
    """Whether a call of the module runs more than its class's code."""
    return bool(module._forward_hooks or module._forward_pre_hooks) or _has_own_code(module)


def _has_own_code(module: nn.Module) -> bool:
    """Whether it is of a class of its own, or has an attribute in place of a function."""
    kind = type(module)
    own = (name for name in vars(module) if callable(getattr(kind, name, None)))
    return kind not in _CLASSES or any(own)


def _shape(tensor: Tensor | None) -> torch.Size | None:
    return None if tensor is None else tensor.shape


def _versions(tensors: Sequence[Tensor]) -> list[int]:
    return [t._version for t in tensors]


def _plan(part: Part, dtype: torch.dtype) -> Plan | str:
    """The cached plan, or a new one; or why the native step does not support the layer."""
    memory = part.memory
    cached = _plans.get(memory)
    if cached is not None and cached.is_valid(dtype):
        return cached
    plan = _new_plan(part, dtype)
    if isinstance(plan, str):
        _plans.pop(memory, None)
        return plan
    _plans[memory] = plan
    return plan if plan.is_valid(dtype) else "a module of the layer has a forward hook"


def _new_plan(part: Part, dtype: torch.dtype) -> Plan | str:
    memory: Any = part.memory
    names = ("candidate", "update_gate", "output_gate", "read_out")
    heads = memory.heads
    found = [(memory, None, "memory"), (heads, memory._modules, "heads")]
    found += [(getattr(memory, name), memory._modules, name) for name in names]
    found += [(module, heads._modules, kind) for kind, module in heads.items()]
    if "tape" in heads:
        found.append((heads["tape"].moves, heads["tape"]._modules, "moves"))
    for module, _, name in found:
        if _has_own_code(module):
            return f"{name} has code of its own: {type(module).__name__}"
    places = [*part.weights, *memory.step_tensors()]
    given = [p is not None and p[0].get(p[1], ...) is not None for p in places]
    weights = _Tensors.at([p for p, there in zip(places, given) if there])
    sources = _Tensors.at(
        [p for kind in ("key", "lag") if kind in heads for p in heads[kind].step_sources()]
    )
    if weights is None or sources is None:
        return "a weight is computed, as by a parametrization or by pruning"
    needed = (*weights.found, *sources.found)
    if not are_plain(*needed):
        return WRAPPED.reason
    if any(w.dtype != dtype or not w.is_contiguous() or not w.is_cpu for w in needed):
        return f"a weight is not a contiguous CPU tensor of {dtype}"
    if any(t.is_inference() for t in sources.found):
        return "weights made in inference mode count no changes"
    versions, start = _versions(sources.held), memory.initial_state(1)
    held = iter(weights.held)
    return Plan(
        [_Module.at(*each) for each in found],
        weights.and_(sources),
        [p for p, there in zip(places, given) if p is not None and not there],
        sources.held,
        versions,
        _constants(part, [next(held) if there else None for there in given], dtype),
        memory.output_gate.out_features,
        (memory.num_heads, memory.memory.cells, memory.row_width),
        {kind: (value.shape[1:], value.dtype) for kind, value in start.carried.items()},
        [*map(_shape, (start.fresh_left, start.fresh_right))],
        start.fresh is not None,
        dtype,
    )


def _constants(part: Part, weights: list[Tensor | None], dtype: torch.dtype) -> Constants:
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
    return Constants(layer, weights, keys, lags, ring, dtype)
