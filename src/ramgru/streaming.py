"""A step of a stream by one native call a layer, where nothing asks for the general path.

B sequences, I inputs, C hidden units, L layers, H heads, N cells of width D.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import Tensor

from ramgru.address import autocasts
from ramgru.kernels import native
from ramgru.kernels.fused import is_plain
from ramgru.kernels.layer_step import Shape, layer_step_
from ramgru.kernels.projection import Projection
from ramgru.state import RAMGRUState

if TYPE_CHECKING:
    from ramgru.layer import RAMGRU


class _Weights(NamedTuple):
    shape: Shape
    weights: Sequence[Tensor | None]  # in the order of `layer_step.TENSORS`, from weight_ih on
    codes: Sequence[Tensor]


def step_(layer: RAMGRU, x: Tensor, state: RAMGRUState) -> tuple[Tensor, RAMGRUState] | None:
    """x (B, I) -> output (B, C) and the next state; the cells of `state` are overwritten.

    None where the general path has to do it, or has to say what is wrong.
    """
    L, B, C = layer.num_layers, x.shape[0], layer.hidden_size
    torch_gru = layer.controller == "gru" and layer.gru_kernel == "torch"
    if torch_gru or not (B and is_plain() and native.runs(x)):
        return None
    if autocasts("cpu") or state.hidden.shape != (L, B, C) or state.hidden.dtype != x.dtype:
        return None
    layers = [_weights(layer, n) for n in range(L)]
    if not all(_fits(layer, n, layers[n], x, state) for n in range(L)):
        return None
    with torch.no_grad():
        hidden, y = state.hidden.contiguous(), x.contiguous()
        next_hidden, contexts = torch.empty_like(hidden), []
        for n, given in enumerate(layers):
            assert given is not None
            context, output = state.context[n].contiguous(), y.new_empty(B, C)
            next_context = torch.empty_like(context)
            layer_step_(
                given.shape,
                given.weights,
                given.codes,
                y,
                hidden[n],
                context,
                state.memory[n].rows,
                output,
                next_hidden[n],
                next_context,
            )
            contexts.append(next_context)
            y = output
    # Cut from the graph that made it, whose backward must not meet what was written here.
    memory = tuple(
        replace(m, rows=m.rows.detach()) if m.rows.requires_grad else m for m in state.memory
    )
    return y, RAMGRUState(next_hidden, tuple(contexts), memory)


# The order of `layer_step.TENSORS`, from weight_ih on.
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


def _weights(layer: RAMGRU, n: int) -> _Weights | None:
    """What the step of one layer reads, by plain look-up: a step has microseconds.

    None where a weight is not what its module's class says: parametrised, hooked, replaced.
    """
    unit: Any = layer._modules[f"memory_l{n}"]
    address = unit._modules["address"]
    modules = [unit._modules[name] for name in ("candidate", "update_gate", "output_gate")]
    for module in (*modules, unit._modules["read_out"]):
        if type(module) is not Projection or module._forward_hooks or module._forward_pre_hooks:
            return None
    if address._parameters.get("read_context") is not None:
        return None
    try:
        weights = [layer._parameters.get(f"{name}_l{n}") for name in _CONTROLLER]
        weights += [unit._modules[name]._parameters[kind] for name, kind in _LINEAR]
        weights += [address._parameters[name] for name in _ADDRESS]
    except KeyError:
        return None
    shape = Shape(
        unit.top_k,
        address.window,
        address.width,
        layer.controller == "gru",
        unit.write_rule == "delta",
        unit.candidate_activation == "tanh",
        address.offsets,
        address.sizes,
    )
    return _Weights(shape, weights, list(address._modules["codes"]._parameters.values()))


def _fits(layer: RAMGRU, n: int, given: _Weights | None, x: Tensor, state: RAMGRUState) -> bool:
    """Whether tensors are as the kernel takes them: it does not look twice."""
    if given is None:
        return False
    for t in (*given.weights, *given.codes):
        if t is not None and not (
            t.dtype == x.dtype and t.is_contiguous() and t.device.type == "cpu"
        ):
            return False
    memory, context = state.memory[n], state.context[n]
    B, window = x.shape[0], given.shape.window
    return (
        memory.is_dense
        and memory.rows.shape == (B, layer.num_heads, layer.memory_size, layer.head_size)
        and memory.rows.dtype == context.dtype == x.dtype
        and memory.rows.is_contiguous()
        and context.shape == (B, window - 1, layer.layer_input_size(n))
    )
