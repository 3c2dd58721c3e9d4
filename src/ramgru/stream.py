"""A step of a stream by one native call a layer, where nothing asks for the general path.

A step takes microseconds, so what does not change between steps is looked at once: `_Plan`.
B sequences, I inputs, C hidden units, L layers, H heads, N cells of width D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ramgru.kernels import native
from ramgru.kernels.fused import is_plain
from ramgru.kernels.layer_step import Constants, layer_step_
from ramgru.kernels.projection import Projection
from ramgru.keys import autocasts
from ramgru.memory import MemoryState, RandomAccessMemory
from ramgru.state import RAMGRUState

if TYPE_CHECKING:
    from ramgru.layer import RAMGRU


def step_(layer: RAMGRU, x: Tensor, state: RAMGRUState) -> tuple[Tensor, RAMGRUState] | None:
    """x (B, I) -> output (B, C) and the next state; the cells of `state` are overwritten.

    None where the general path has to do it, or has to say what is wrong.
    """
    L, B, C = layer.num_layers, x.shape[0], layer.hidden_size
    torch_gru = layer.controller == "gru" and layer.gru_kernel == "torch"
    if torch_gru or not (B and is_plain() and native.runs(x)) or autocasts("cpu"):
        return None
    if state.hidden.shape != (L, B, C) or state.hidden.dtype != x.dtype:
        return None
    plans = []
    for n in range(L):
        plan = _plan(layer, n, x.dtype)
        if plan is None or not plan.fits(state.memory[n], state.context[n], B):
            return None
        plans.append(plan)
    with torch.no_grad():
        hidden, y = state.hidden.contiguous(), x.contiguous()
        next_hidden, contexts = torch.empty_like(hidden), []
        for n, plan in enumerate(plans):
            context, output = state.context[n].contiguous(), y.new_empty(B, C)
            next_context = torch.empty_like(context)
            rows = state.memory[n].rows
            h, after = (hidden, next_hidden) if L == 1 else (hidden[n], next_hidden[n])
            layer_step_(plan.constants, B, y, h, context, rows, output, after, next_context)
            contexts.append(next_context)
            y = output
    # Cut from the graph that made it, whose backward must not meet what was written here.
    memory = tuple(
        replace(m, rows=m.rows.detach()) if m.rows.requires_grad else m for m in state.memory
    )
    return y, RAMGRUState(next_hidden, tuple(contexts), memory)


# The order in which the kernel takes weights, from weight_ih on.
_CONTROLLER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_LINEAR = (
    ("candidate", "weight"),
    ("candidate", "bias"),
    ("update_gate", "weight"),
    ("update_gate", "bias"),
    ("output_gate", "weight"),
    ("output_gate", "bias"),
    ("read_out", "weight"),
)
_ADDRESS = ("query_weight", "query_bias", "sharpness")


@dataclass
class _Plan:
    """What the steps of one layer have in common, as long as its weights lie where they lay."""

    modules: list[tuple[dict[str, Any], str, nn.Module]]  # where each module was found
    weights: list[tuple[dict[str, Any], str]]  # where each weight is found
    places: list[int]  # where the weights lie in memory
    constants: Constants
    cells: tuple[int, int, int]  # H, N, D
    context: tuple[int, int]  # window - 1, I
    dtype: torch.dtype

    def holds(self, dtype: torch.dtype) -> bool:
        """Whether nothing was replaced, hooked or moved since."""
        for owner, name, module in self.modules:
            if owner.get(name) is not module or module._forward_hooks or module._forward_pre_hooks:
                return False
        found = [owner.get(name) for owner, name in self.weights]
        return dtype == self.dtype and self.places == _places(found)

    def fits(self, memory: MemoryState, context: Tensor, batch: int) -> bool:
        """Whether a state is as the kernel takes it: it does not look twice."""
        rows = memory.rows
        return (
            memory.is_dense
            and rows.dtype == context.dtype == self.dtype
            and rows.shape == (batch, *self.cells)
            and context.shape == (batch, *self.context)
            and rows.is_contiguous()
            and rows.device.type == "cpu"
        )


_plans: WeakKeyDictionary[RandomAccessMemory, _Plan] = WeakKeyDictionary()


def _places(weights: Sequence[Tensor | None]) -> list[int]:
    return [0 if w is None else w.data_ptr() for w in weights]


def _plan(layer: RAMGRU, n: int, dtype: torch.dtype) -> _Plan | None:
    """None where a weight is not what its module's class says: parametrised, hooked, replaced."""
    unit: Any = layer._modules[f"memory_l{n}"]
    plan = _plans.get(unit)
    if plan is not None and plan.holds(dtype):
        return plan
    address = unit.address
    linears = {name: getattr(unit, name) for name, _ in _LINEAR}
    if any(type(module) is not Projection for module in linears.values()):
        return None
    if unit.gate == "cell" or unit.gate_range != (0, 1) or unit.tape is not None:
        return None
    if unit.write_rule == "delta" or unit.candidate_activation == "tanh":
        return None
    if isinstance(address.taps, nn.Parameter):
        return None
    modules: list[tuple[dict[str, Any], str, nn.Module]]
    modules = [(unit._modules, "address", address)]
    modules += [(unit._modules, name, module) for name, module in linears.items()]
    weights: list[tuple[dict[str, Any], str]]
    weights = [(layer._parameters, f"{name}_l{n}") for name in _CONTROLLER]
    weights += [(linears[name]._parameters, kind) for name, kind in _LINEAR]
    U, taps = len(address.sizes), address.taps
    for name in (*_ADDRESS, "taps", *(f"codes_{u}" for u in range(U))):
        learned = name in address._parameters
        weights.append((address._parameters if learned else address._buffers, name))
    found = [owner.get(name) for owner, name in weights]
    # A controller may do without a bias, a minGRU without W_hh, keys of one step without taps.
    needed = [w for (_, name), w in zip(weights, found) if name != "taps"][len(_CONTROLLER) :]
    if any(w is None for w in (found[0], *needed)) or not all(
        w is None or (w.dtype == dtype and w.is_contiguous() and w.device.type == "cpu")
        for w in found
    ):
        return None
    places = _places(found)
    constants = Constants(
        layer.layer_input_size(n),
        layer.hidden_size,
        unit.num_heads,
        unit.memory_size,
        unit.head_size,
        unit.top_k,
        unit.top_k,
        address.window,
        address.width,
        0 if taps is None else taps.shape[1],
        layer.controller == "gru",
        address.offsets,
        address.skips,
        address.spans,
        address.sizes,
        places[:-U],
        places[-U:],
        dtype,
    )
    plan = _Plan(
        modules,
        weights,
        places,
        constants,
        (unit.num_heads, unit.memory_size, unit.head_size),
        (address.window - 1, layer.layer_input_size(n)),
        dtype,
    )
    _plans[unit] = plan
    return plan if plan.holds(dtype) else None
