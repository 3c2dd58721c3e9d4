"""`torch.ops.ramgru.memory_scan`: one operator, whatever computes it.

Fake, autograd and vmap rules, so that compiling, exporting and functional transforms see an
operator like torch's own. First derivatives run the hand-written backward; for second derivatives
see `second`.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch import Tensor

from ramgru.kernels import gpu, native
from ramgru.kernels.memory_scan import chains, portable
from ramgru.kernels.memory_scan import native as native_scan
from ramgru.kernels.memory_scan.folding import batch_size, fold_named, unfold_named
from ramgru.kernels.memory_scan.inputs import DIFFERENTIABLE, Inputs, empty_results, widen
from ramgru.kernels.memory_scan.second import SecondBackward
from ramgru.kernels.transforms import call, fold, one_by_one


def triton_path() -> Any:
    """The module that runs Triton kernels; it imports triton, which may not be installed."""
    from ramgru.kernels.memory_scan import triton_path

    return triton_path


TENSORS = ", ".join(
    f"Tensor{'?' if hint == Tensor | None else ''} {name}"
    for name, hint in get_type_hints(Inputs).items()
)


@torch.library.custom_op(
    "ramgru::memory_scan",
    mutates_args=(),
    schema=f"({TENSORS}, SymInt memory_size, bool want_final) -> Tensor[]",
)
def memory_scan_op(*args: Any) -> list[Tensor]:
    """-> outputs, final cells, final rows, and what the path that ran saves for backward."""
    x, (memory_size, want_final) = Inputs(*args[:12]), args[12:]
    if gpu.takes(*x):
        return triton_path().forward(x, memory_size, want_final)
    if native.takes(*x):
        return native_scan.forward(x, memory_size, want_final)
    path = chains.build(x, memory_size, want_final)
    outputs, cells, rows, versions = portable.forward(widen(x), path, memory_size, want_final)
    return [outputs.to(x.candidate.dtype), cells, rows, versions, *path]


@memory_scan_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x, (memory_size, want_final) = Inputs(*args[:12]), args[12:]
    results = empty_results(x, memory_size, want_final)
    if gpu.takes(*x):
        return [*results, *triton_path().empty_saved(x, want_final)]
    if native.takes(*x):
        return results
    return [*results, *portable.empty_saved(x, want_final)]


@torch.library.custom_op(
    "ramgru::memory_scan_backward",
    mutates_args=(),
    schema=(
        f"(Tensor grad_output, Tensor? grad_rows, {TENSORS}, SymInt memory_size, "
        "Tensor[] saved) -> Tensor[]"
    ),
)
def memory_scan_backward_op(*args: Any) -> list[Tensor]:
    """-> gradients in the order of DIFFERENTIABLE; an empty tensor where there is no such input."""
    grad_output, grad_rows = args[:2]
    x, (memory_size, saved) = Inputs(*args[2:14]), args[14:]
    if gpu.takes(*x):
        given = saved if len(saved) == triton_path().SAVED else []
        grads = triton_path().backward(x, grad_output, grad_rows, memory_size, given)
    elif native.takes(*x):
        grads = native_scan.backward(x, grad_output, grad_rows, memory_size)
    else:
        wide = widen(x)
        if len(saved) == portable.SAVED:
            versions, path = saved[0], chains.Chains(*saved[1:])
        else:  # forward ran elsewhere
            path = chains.build(x, memory_size, grad_rows is not None)
            versions = portable.forward(wide, path, memory_size, False)[3]
        dtype = versions.dtype
        grads = portable.backward(
            wide,
            path,
            versions,
            grad_output.to(dtype).contiguous(),
            None if grad_rows is None else grad_rows.to(dtype).contiguous(),
            memory_size,
        )
    return [
        x.gate.new_empty(0) if grad is None else grad.to(getattr(x, name).dtype).contiguous()
        for name, grad in zip(DIFFERENTIABLE, grads, strict=True)
    ]


@memory_scan_backward_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x = Inputs(*args[2:14])
    given = [getattr(x, name) for name in DIFFERENTIABLE]
    return [
        x.gate.new_empty(0) if value is None else value.new_empty(value.shape) for value in given
    ]


class _Forward(torch.autograd.Function):
    """The operator for torch.func's transforms, which look for a Function, not for an operator."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(torch.ops.ramgru.memory_scan(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.mark_non_differentiable(output[1], *output[3:])
        _save(ctx, inputs, output)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        kept = ctx.saved_tensors  # asked for once: activation checkpointing allows no second time
        inputs, saved = kept[:12], kept[12:]
        grad_rows = grads[2] if ctx.want_final else None
        found = call(
            _Backward,
            _backward_operator,
            (grads[0], grad_rows, *inputs, ctx.memory_size, *saved),
        )
        by_name = dict(zip(DIFFERENTIABLE, found, strict=True))
        return (
            *(
                by_name[name] if name in by_name and value is not None else None
                for name, value in zip(Inputs._fields, inputs, strict=True)
            ),
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        batch = batch_size(in_dims[0], args[0])
        folded = fold_named(Inputs._fields, info.batch_size, batch, in_dims[:12], args[:12])
        found = call(_Forward, torch.ops.ramgru.memory_scan, (*folded, *args[12:]))
        results = [value.unflatten(0, (info.batch_size, batch)) for value in found[:3]]
        return (*results, *found[3:]), (0, 0, 0, *[None] * len(found[3:]))


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*inputs[:12], *output[3:])
    ctx.memory_size, ctx.want_final = inputs[12:]


def _backward_operator(*args: Any) -> list[Tensor]:
    return torch.ops.ramgru.memory_scan_backward(*args[:15], list(args[15:]))


class _Backward(torch.autograd.Function):
    """Gradients of `_Forward`; its own backward gives second derivatives.

    Arguments: grad of outputs, grad of rows, the twelve inputs, size, what forward saved.
    """

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(_backward_operator(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:14])
        ctx.memory_size = inputs[14]
        ctx.saved = len(inputs[15:])

    @staticmethod
    def backward(ctx: Any, *grad_grads: Any) -> tuple[Any, ...]:
        grad_output, grad_rows, *tensors = ctx.saved_tensors
        inputs = dict(zip(Inputs._fields, tensors, strict=True))
        wanted = [
            None if inputs[name] is None else value
            for name, value in zip(DIFFERENTIABLE, grad_grads, strict=True)
        ]
        found = SecondBackward.apply(grad_output, grad_rows, *wanted, *tensors, ctx.memory_size)
        by_name = dict(zip(DIFFERENTIABLE, found[2:], strict=True))
        return (
            found[0],
            None if grad_rows is None else found[1],
            *(by_name.get(name) if value is not None else None for name, value in inputs.items()),
            None,
            *[None] * ctx.saved,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        size = info.batch_size

        def apply(*given: Any) -> Any:
            return call(_Backward, _backward_operator, given)

        if all(dim is None for dim in in_dims[2:14]):  # many gradients of one and the same forward
            return one_by_one(apply, size, in_dims, args)
        grads = [fold(g, dim, size) for g, dim in zip(args[:2], in_dims[:2], strict=True)]
        batch = batch_size(in_dims[2], args[2])
        inputs = fold_named(Inputs._fields, size, batch, in_dims[2:14], args[2:14])
        found = apply(*grads, *inputs, *args[14:])
        return unfold_named(DIFFERENTIABLE, size, batch, found)


def memory_scan(*args: Any) -> list[Tensor]:
    """The operator, by the way that the transforms which are active ask for."""
    return list(call(_Forward, torch.ops.ramgru.memory_scan, args))[:3]


memory_scan_op.register_autograd(
    lambda ctx, grads: _Forward.backward(ctx, *grads), setup_context=_save
)
memory_scan_op.register_vmap(
    lambda info, in_dims, *args: tuple(map(list, _Forward.vmap(info, in_dims, *args)))
)


def _setup_second(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    _Backward.setup_context(ctx, (*inputs[:15], *inputs[15]), output)


def _second(ctx: Any, grad_grads: list[Tensor | None]) -> tuple[Any, ...]:
    found = _Backward.backward(ctx, *grad_grads)
    return (*found[:15], list(found[15:]))


def _vmap_backward(info: Any, in_dims: Any, *args: Any) -> Any:
    flat_dims = (*in_dims[:15], *[None] * len(args[15]))
    return tuple(map(list, _Backward.vmap(info, flat_dims, *args[:15], *args[15])))


memory_scan_backward_op.register_autograd(_second, setup_context=_setup_second)
memory_scan_backward_op.register_vmap(_vmap_backward)
