"""`torch.ops.ramgru.memory_scan`: one operator for all implementations.

Fake, autograd and vmap rules make the operator compile, export and transform like torch's own.
First derivatives run the hand-written backward; `second` has the second derivatives.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.memory_scan import cpu
from ramgru.kernels.memory_scan import torch as portable
from ramgru.kernels.memory_scan.inputs import DIFFERENTIABLE, Inputs, empty_results
from ramgru.kernels.memory_scan.second import SecondBackward
from ramgru.kernels.memory_scan.uneven import even, uneven_gradients
from ramgru.kernels.memory_scan.vmap import batch_size, fold_named, unfold_named
from ramgru.kernels.transforms import apply, call, fold, one_by_one

OPERATION = dispatch.Operation(
    "memory_scan", "memory_scan_forward", "ramgru.kernels.memory_scan.triton"
)


def implementation(x: Inputs) -> Any:
    """The module whose forward, backward and empty_saved run for these tensors."""
    path = OPERATION.choose(*x, in_operator=True).path
    if path == dispatch.TRITON:
        from ramgru.kernels.memory_scan import triton  # needs the package triton

        return triton
    return cpu if path == dispatch.CPU else portable


INPUTS = len(Inputs._fields)
# The arguments of backward: two gradients, the inputs, memory_size, counts (as in `uneven`), the
# tensors saved by forward.
GIVEN, SIZE = slice(2, 2 + INPUTS), 2 + INPUTS
SAVED = SIZE + 2
TENSORS = ", ".join(
    f"Tensor{'?' if hint == Tensor | None else ''} {name}"
    for name, hint in get_type_hints(Inputs).items()
)


def _forward(*args: Any) -> list[Tensor]:
    """-> outputs, final cells, final rows, and the tensors saved for backward"""
    x, (memory_size, counts, want_final) = Inputs(*args[:INPUTS]), args[INPUTS:]
    module = implementation(x)
    if module is cpu:
        return cpu.forward(x, memory_size, want_final, counts)
    results: list[Tensor] = module.forward(even(x, counts), memory_size, want_final)
    return results


memory_scan_op = torch.library.custom_op(
    "ramgru::memory_scan",
    _forward,
    mutates_args=(),
    schema=f"({TENSORS}, SymInt memory_size, SymInt[] counts, bool want_final) -> Tensor[]",
)


@memory_scan_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x, (memory_size, counts, want_final) = Inputs(*args[:INPUTS]), args[INPUTS:]
    x = even(x, counts)
    results = empty_results(x, memory_size, want_final)
    return [*results, *implementation(x).empty_saved(x, want_final)]


def _backward(*args: Any) -> list[Tensor]:
    """-> gradients in the order of DIFFERENTIABLE; an empty tensor for an input that is absent"""
    grad_output, grad_rows = args[:2]
    x, (memory_size, counts, saved) = Inputs(*args[GIVEN]), args[SIZE:]
    module = implementation(x)
    if module is cpu:
        grads = cpu.backward(x, grad_output, grad_rows, memory_size, saved, counts)
    else:
        given = (even(x, counts), grad_output, grad_rows, memory_size, saved)
        grads = uneven_gradients(module.backward(*given), x, counts)
    return [
        x.gate.new_empty(0) if grad is None else grad.to(getattr(x, name).dtype).contiguous()
        for name, grad in zip(DIFFERENTIABLE, grads, strict=True)
    ]


memory_scan_backward_op = torch.library.custom_op(
    "ramgru::memory_scan_backward",
    _backward,
    mutates_args=(),
    schema=(
        f"(Tensor grad_output, Tensor? grad_rows, {TENSORS}, SymInt memory_size, SymInt[] counts, "
        "Tensor[] saved) -> Tensor[]"
    ),
)


@memory_scan_backward_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x = Inputs(*args[GIVEN])
    given = [getattr(x, name) for name in DIFFERENTIABLE]
    return [
        x.gate.new_empty(0) if value is None else value.new_empty(value.shape) for value in given
    ]


class _Forward(torch.autograd.Function):
    """The operator as torch.func's transforms need it: they accept a Function, not an operator."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(torch.ops.ramgru.memory_scan(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output[1], *output[3:])
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        tensors = ctx.saved_tensors  # read once: activation checkpointing allows no second time
        inputs, saved = tensors[:INPUTS], tensors[INPUTS:]
        grad_rows = grads[2] if ctx.want_final else None
        given = (grads[0], grad_rows, *inputs, ctx.memory_size, ctx.counts, *saved)
        if not torch.is_grad_enabled() and _is_plain(*given[:SIZE]):
            held = dispatch.held(*given[:SIZE])
            found: Any = _backward(*held, ctx.memory_size, ctx.counts, list(saved))
        else:
            found = call(_Backward, _backward_operator, given)
        by_name = dict(zip(DIFFERENTIABLE, found, strict=True))
        return (
            *(
                by_name[name] if name in by_name and value is not None else None
                for name, value in zip(Inputs._fields, inputs, strict=True)
            ),
            None,
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        batch = batch_size(in_dims[0], args[0])
        folded = fold_named(Inputs._fields, info.batch_size, batch, in_dims[:INPUTS], args[:INPUTS])
        found = call(_Forward, torch.ops.ramgru.memory_scan, (*folded, *args[INPUTS:]))
        results = [value.unflatten(0, (info.batch_size, batch)) for value in found[:3]]
        return (*results, *found[3:]), (0, 0, 0, *[None] * len(found[3:]))


class _Eager(_Forward):
    """The same without the operator, whose call costs as much as a thousand steps of a head."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(_forward(*dispatch.held(*args[:INPUTS]), *args[INPUTS:]))


def _is_plain(first: Tensor, *others: Tensor | None) -> bool:
    """Whether there are numbers to compute with, in tensors that no rule of the operator is for."""
    return dispatch.is_eager() and dispatch.are_plain(first, *others) and not first.is_meta


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:INPUTS], *output[3:])
    ctx.memory_size, ctx.counts, ctx.want_final = inputs[INPUTS:]


def _backward_operator(*args: Any) -> list[Tensor]:
    return torch.ops.ramgru.memory_scan_backward(*args[:SAVED], list(args[SAVED:]))


class _Backward(torch.autograd.Function):
    """Gradients of `_Forward`; its own backward gives second derivatives.

    Arguments: grad of outputs, grad of rows, the inputs, size, counts, the tensors forward saved.
    """

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(_backward_operator(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:SIZE])
        ctx.memory_size, ctx.counts = inputs[SIZE:SAVED]
        ctx.saved = len(inputs[SAVED:])

    @staticmethod
    def backward(ctx: Any, *grad_grads: Any) -> tuple[Any, ...]:
        grad_output, grad_rows, *tensors = ctx.saved_tensors
        inputs = dict(zip(Inputs._fields, tensors, strict=True))
        wanted = [
            None if inputs[name] is None else value
            for name, value in zip(DIFFERENTIABLE, grad_grads, strict=True)
        ]
        given = (*wanted, *tensors, ctx.memory_size, ctx.counts)
        found = apply(SecondBackward, grad_output, grad_rows, *given)
        by_name = dict(zip(DIFFERENTIABLE, found[2:], strict=True))
        return (
            found[0],
            None if grad_rows is None else found[1],
            *(by_name.get(name) if value is not None else None for name, value in inputs.items()),
            None,
            None,
            *[None] * ctx.saved,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        size = info.batch_size

        def apply(*given: Any) -> Any:
            return call(_Backward, _backward_operator, given)

        if all(dim is None for dim in in_dims[GIVEN]):  # many gradients of one forward
            return one_by_one(apply, size, in_dims, args)
        grads = [fold(g, dim, size) for g, dim in zip(args[:2], in_dims[:2], strict=True)]
        batch = batch_size(in_dims[2], args[2])
        inputs = fold_named(Inputs._fields, size, batch, in_dims[GIVEN], args[GIVEN])
        found = apply(*grads, *inputs, *args[SIZE:])
        return unfold_named(DIFFERENTIABLE, size, batch, found)


def memory_scan(*args: Any) -> list[Tensor]:
    """The operator, or a Function if a transform is active, or nothing that needs an operator."""
    if _is_plain(*args[:INPUTS]):
        return list(_Eager.apply(*args))[:3]
    return list(call(_Forward, torch.ops.ramgru.memory_scan, args))[:3]


def _first(ctx: Any, grads: list[Tensor | None]) -> tuple[Any, ...]:
    *found, of_size, _, of_want = _Forward.backward(ctx, *grads)
    return (*found, of_size, _no_gradient(ctx.counts), of_want)


def _no_gradient(counts: list[int]) -> Any:
    """What stands for a list of integers: torch takes an empty one for a list of tensors."""
    return None if counts else []


memory_scan_op.register_autograd(_first, setup_context=_save)
memory_scan_op.register_vmap(
    lambda info, in_dims, *args: tuple(map(list, _Forward.vmap(info, in_dims, *args)))
)


def _setup_second(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _Backward.setup_context(ctx, (*inputs[:SAVED], *inputs[SAVED]), output)


def _second(ctx: Any, grad_grads: list[Tensor | None]) -> tuple[Any, ...]:
    found = _Backward.backward(ctx, *grad_grads)
    return (*found[: SIZE + 1], _no_gradient(ctx.counts), list(found[SAVED:]))


def _vmap_backward(info: Any, in_dims: Any, *args: Any) -> Any:
    flat_dims = (*in_dims[:SAVED], *[None] * len(args[SAVED]))
    return tuple(map(list, _Backward.vmap(info, flat_dims, *args[:SAVED], *args[SAVED])))


memory_scan_backward_op.register_autograd(_second, setup_context=_setup_second)
memory_scan_backward_op.register_vmap(_vmap_backward)
