"""`torch.ops.ramgru.memory_scan`: one operator, whatever computes it.

Fake, autograd and vmap rules, so that compiling, exporting and functional transforms see an
operator like torch's own. First derivatives run the hand-written backward; for second derivatives
see `second`.
"""

from __future__ import annotations

from typing import Any, get_type_hints

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import portable
from ramgru.kernels.memory_scan.folding import batch_size, fold_named, unfold_named
from ramgru.kernels.memory_scan.inputs import DIFFERENTIABLE, Inputs, compute_dtype, widen
from ramgru.kernels.memory_scan.portable import ORDER_SIZE, make_order
from ramgru.kernels.memory_scan.second import SecondBackward
from ramgru.kernels.transforms import call, fold, one_by_one

TENSORS = ", ".join(
    f"Tensor{'?' if hint == Tensor | None else ''} {name}"
    for name, hint in get_type_hints(Inputs).items()
)


@torch.library.custom_op(
    "ramgru::memory_scan",
    mutates_args=(),
    schema=f"({TENSORS}, SymInt memory_size, str rule, bool want_final) -> Tensor[]",
)
def memory_scan_op(*args: Any) -> list[Tensor]:
    """-> outputs, final cells, final rows, and what backward needs: versions, order."""
    x, (memory_size, rule, want_final) = Inputs(*args[:12]), args[12:]
    path = portable.order(x, memory_size, rule, want_final)
    outputs, cells, rows, versions = portable.forward(widen(x), path, memory_size, want_final)
    return [outputs.to(x.candidate.dtype), cells, rows, versions, *path]


@memory_scan_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x, (memory_size, rule, want_final) = Inputs(*args[:12]), args[12:]
    B, T, H, K = x.write_index.shape
    J, D = x.read_index.shape[-1], x.candidate.shape[-1]
    P = x.given_cells
    dtype = compute_dtype(x)
    index, value = x.write_index, x.candidate
    size = P + T * K if want_final else 0
    events = B * H * (P + T * (K + J))
    if not want_final:
        cells, rows = index.new_empty(B, H, 0), value.new_empty(B, H, 0, D, dtype=dtype)
    elif portable.dense_final(x, memory_size):
        cells, rows = index.new_empty(B, H, 0), value.new_empty(B, H, memory_size, D, dtype=dtype)
    else:
        cells, rows = index.new_empty(B, H, size), value.new_empty(B, H, size, D, dtype=dtype)
    saved = [
        index.new_empty(B, H, P),
        index.new_empty(B, T, H, K) if rule == "gru" else index.new_empty(T, B * H, K),
        index.new_empty(B, T, H, J),
        index.new_empty(B * H, size),
        index.new_empty(B * H, size),
        index.new_empty(T * K + 1 if rule == "gru" else 1),
        index.new_empty(3, events if x.has_base else 0),
    ]
    versions = value.new_empty(portable.capacity(x), D, dtype=dtype)
    return [value.new_empty(B, T, H, D), cells, rows, versions, *saved]


@torch.library.custom_op(
    "ramgru::memory_scan_backward",
    mutates_args=(),
    schema=(
        f"(Tensor grad_output, Tensor? grad_rows, Tensor[] saved, {TENSORS}, "
        "SymInt memory_size, str rule) -> Tensor[]"
    ),
)
def memory_scan_backward_op(*args: Any) -> list[Tensor]:
    """-> gradients in the order of DIFFERENTIABLE; an empty tensor where there is no such input."""
    grad_output, grad_rows, (versions, *order) = args[:3]
    x, (memory_size, rule) = Inputs(*args[3:15]), args[15:]
    grads = portable.backward(
        widen(x),
        make_order(rule, order),
        versions,
        grad_output.to(versions.dtype).contiguous(),
        None if grad_rows is None else grad_rows.to(versions.dtype).contiguous(),
        memory_size,
    )
    return [
        x.gate.new_empty(0) if grad is None else grad.to(getattr(x, name).dtype).contiguous()
        for name, grad in zip(DIFFERENTIABLE, grads, strict=True)
    ]


@memory_scan_backward_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x = Inputs(*args[3:15])
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
        ctx.save_for_backward(*output[3:], *inputs[:12])
        ctx.memory_size, ctx.rule, ctx.want_final = inputs[12:]

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Any, ...]:
        kept = ctx.saved_tensors  # asked for once: activation checkpointing allows no second time
        saved, inputs = kept[: 1 + ORDER_SIZE], kept[1 + ORDER_SIZE :]
        grad_rows = grads[2] if ctx.want_final else None
        found = call(
            _Backward,
            _backward_operator,
            (grads[0], grad_rows, *saved, *inputs, ctx.memory_size, ctx.rule),
        )
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
        folded = fold_named(Inputs._fields, info.batch_size, batch, in_dims[:12], args[:12])
        found = call(_Forward, torch.ops.ramgru.memory_scan, (*folded, *args[12:]))
        results = [value.unflatten(0, (info.batch_size, batch)) for value in found[:3]]
        return (*results, *found[3:]), (0, 0, 0, *[None] * (1 + ORDER_SIZE))


def _backward_operator(*args: Any) -> list[Tensor]:
    n = 3 + ORDER_SIZE
    return torch.ops.ramgru.memory_scan_backward(*args[:2], list(args[2:n]), *args[n:])


class _Backward(torch.autograd.Function):
    """Gradients of `_Forward`; its own backward gives second derivatives.

    Arguments: grad of outputs, grad of rows, versions, order, the twelve inputs, size, rule.
    """

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        return tuple(_backward_operator(*args))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs[:2], *inputs[3:-2])
        ctx.memory_size, ctx.rule = inputs[-2:]

    @staticmethod
    def backward(ctx: Any, *grad_grads: Any) -> tuple[Any, ...]:
        grad_output, grad_rows, *rest = ctx.saved_tensors
        inputs = dict(zip(Inputs._fields, rest[ORDER_SIZE:], strict=True))
        wanted = [
            None if inputs[name] is None else value
            for name, value in zip(DIFFERENTIABLE, grad_grads, strict=True)
        ]
        found = SecondBackward.apply(
            grad_output, grad_rows, *wanted, *rest, ctx.memory_size, ctx.rule
        )
        by_name = dict(zip(DIFFERENTIABLE, found[2:], strict=True))
        return (
            found[0],
            None if grad_rows is None else found[1],
            *[None] * (1 + ORDER_SIZE),
            *(by_name.get(name) if value is not None else None for name, value in inputs.items()),
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        size, n = info.batch_size, 3 + ORDER_SIZE

        def apply(*given: Any) -> Any:
            return call(_Backward, _backward_operator, given)

        if all(dim is None for dim in in_dims[n:-2]):  # many gradients of one and the same forward
            return one_by_one(apply, size, in_dims, args)
        grads = [fold(g, dim, size) for g, dim in zip(args[:2], in_dims[:2], strict=True)]
        batch = batch_size(in_dims[n], args[n])
        inputs = fold_named(Inputs._fields, size, batch, in_dims[n:-2], args[n:-2])
        found = apply(*grads, *args[2:n], *inputs, *args[-2:])
        return unfold_named(DIFFERENTIABLE, size, batch, found)


def memory_scan(*args: Any) -> list[Tensor]:
    """The operator, by the way that the transforms which are active ask for."""
    return list(call(_Forward, torch.ops.ramgru.memory_scan, args))[:3]


def _backward(ctx: Any, grads: list[Tensor]) -> tuple[Any, ...]:
    return _Forward.backward(ctx, *grads)


def _setup_operator(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.save_for_backward(*output[3:], *inputs[:12])
    ctx.memory_size, ctx.rule, ctx.want_final = inputs[12:]


memory_scan_op.register_autograd(_backward, setup_context=_setup_operator)
memory_scan_op.register_vmap(
    lambda info, in_dims, *args: tuple(map(list, _Forward.vmap(info, in_dims, *args)))
)


def _setup_second(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    flat = (*inputs[:2], *inputs[2], *inputs[3:])
    _Backward.setup_context(ctx, flat, output)


def _second(ctx: Any, grad_grads: list[Tensor | None]) -> tuple[Any, ...]:
    found = _Backward.backward(ctx, *grad_grads)
    n = 3 + ORDER_SIZE
    return (*found[:2], [None] * (1 + ORDER_SIZE), *found[n:])


def _vmap_backward(info: Any, in_dims: Any, *args: Any) -> Any:
    flat_dims = (*in_dims[:2], *[None] * (1 + ORDER_SIZE), *in_dims[3:])
    flat = (*args[:2], *args[2], *args[3:])
    return tuple(map(list, _Backward.vmap(info, flat_dims, *flat)))


memory_scan_backward_op.register_autograd(_second, setup_context=_setup_second)
memory_scan_backward_op.register_vmap(_vmap_backward)
