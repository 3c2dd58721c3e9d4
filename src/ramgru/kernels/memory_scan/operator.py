"""`torch.ops.ramgru.memory_scan`: one operator, whatever computes it.

Fake, autograd and vmap rules, so that compiling, exporting and functional transforms see an
operator like torch's own. First derivatives run the hand-written backward; second derivatives go
through the same recurrence built of differentiable calls.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels.memory_scan import chains, delta, portable
from ramgru.kernels.memory_scan.portable import DIFFERENTIABLE, Inputs, Order

ORDER_SIZE = 7  # tensors of an Order, the same number for both rules


def _order(rule: str, saved: list[Tensor]) -> Order:
    return chains.Chains(*saved) if rule == "gru" else delta.Steps(*saved)


@torch.library.custom_op("ramgru::memory_scan", mutates_args=())
def memory_scan_op(
    write_index: Tensor,
    write_weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    read_index: Tensor,
    read_weight: Tensor,
    initial_cells: Tensor | None,
    initial_rows: Tensor | None,
    fresh_left: Tensor | None,
    fresh_right: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
    memory_size: int,
    rule: str,
    want_final: bool,
) -> list[Tensor]:
    """-> outputs, final cells, final rows, and what backward needs: versions, order."""
    x = Inputs(
        write_index,
        write_weight,
        gate,
        candidate,
        read_index,
        read_weight,
        initial_cells,
        initial_rows,
        fresh_left,
        fresh_right,
        reset,
        lengths,
    )
    path = portable.order(x, memory_size, rule, want_final)
    outputs, cells, rows, versions = portable.forward(
        portable.widen(x), path, memory_size, want_final
    )
    return [outputs.to(candidate.dtype), cells, rows, versions, *path]


@memory_scan_op.register_fake
def _(*args: Any) -> list[Tensor]:
    x, (memory_size, rule, want_final) = Inputs(*args[:12]), args[12:]
    B, T, H, K = x.write_index.shape
    J, D = x.read_index.shape[-1], x.candidate.shape[-1]
    P = 0 if x.initial_cells is None else x.initial_cells.shape[-1]
    dtype = portable.compute_dtype(x)
    index, value = x.write_index, x.candidate
    size = P + T * K if want_final else 0
    events = B * H * (P + T * (K + J))
    has_base = x.initial_rows is not None or x.fresh_left is not None
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
        index.new_empty(3, events if has_base else 0),
    ]
    versions = value.new_empty(portable.capacity(x), D, dtype=dtype)
    return [value.new_empty(B, T, H, D), cells, rows, versions, *saved]


@torch.library.custom_op("ramgru::memory_scan_backward", mutates_args=())
def memory_scan_backward_op(
    grad_output: Tensor,
    grad_rows: Tensor | None,
    saved: list[Tensor],
    write_index: Tensor,
    write_weight: Tensor,
    gate: Tensor,
    candidate: Tensor,
    read_index: Tensor,
    read_weight: Tensor,
    initial_cells: Tensor | None,
    initial_rows: Tensor | None,
    fresh_left: Tensor | None,
    fresh_right: Tensor | None,
    reset: Tensor | None,
    lengths: Tensor | None,
    memory_size: int,
    rule: str,
) -> list[Tensor]:
    """-> gradients in the order of DIFFERENTIABLE; an empty tensor where there is no such input."""
    x = Inputs(
        write_index,
        write_weight,
        gate,
        candidate,
        read_index,
        read_weight,
        initial_cells,
        initial_rows,
        fresh_left,
        fresh_right,
        reset,
        lengths,
    )
    versions = saved[0]
    grads = portable.backward(
        portable.widen(x),
        _order(rule, saved[1:]),
        versions,
        grad_output.to(versions.dtype).contiguous(),
        None if grad_rows is None else grad_rows.to(versions.dtype).contiguous(),
        memory_size,
    )
    return [
        gate.new_empty(0) if grad is None else grad.to(getattr(x, name).dtype).contiguous()
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
        saved, inputs = ctx.saved_tensors[: 1 + ORDER_SIZE], ctx.saved_tensors[1 + ORDER_SIZE :]
        grad_rows = grads[2] if ctx.want_final else None
        found = _call(
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
        folded = _fold_inputs(info.batch_size, in_dims[:12], args[:12])
        found = _call(_Forward, torch.ops.ramgru.memory_scan, (*folded, *args[12:]))
        results = [value.unflatten(0, (info.batch_size, -1)) for value in found[:3]]
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
        order, x = _order(ctx.rule, rest[:ORDER_SIZE]), Inputs(*rest[ORDER_SIZE:])
        upstream, by_name = _second_order(
            x, order, grad_output, grad_rows, grad_grads, ctx.memory_size
        )
        return (
            upstream[0],
            upstream[1] if grad_rows is not None else None,
            *[None] * (1 + ORDER_SIZE),
            *(by_name.get(name) for name in Inputs._fields),
            None,
            None,
        )

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        size, n = info.batch_size, 3 + ORDER_SIZE

        def call(*given: Any) -> Any:
            return _call(_Backward, _backward_operator, given)

        if all(dim is None for dim in in_dims[n:-2]):  # many gradients of one and the same forward
            each = [
                call(
                    *(
                        g if dim is None else g.select(dim, i)
                        for g, dim in zip(args[:2], in_dims[:2], strict=True)
                    ),
                    *args[2:],
                )
                for i in range(size)
            ]
            stacked = tuple(torch.stack(grads) for grads in zip(*each, strict=True))
            return stacked, tuple([0] * len(stacked))
        grads = [_fold(g, dim, size) for g, dim in zip(args[:2], in_dims[:2], strict=True)]
        found = call(*grads, *args[2:n], *_fold_inputs(size, in_dims[n:-2], args[n:-2]), *args[-2:])
        heads = found[1].shape[-1]  # the gate's gradient: (V·B, T, H)
        unfolded = []
        for name, grad in zip(DIFFERENTIABLE, found, strict=True):
            if not grad.numel():
                unfolded.append(grad.expand(size, 0))
            elif name.startswith("fresh"):
                unfolded.append(grad.unflatten(0, (size, -1, heads)).sum(1))
            else:
                unfolded.append(grad.unflatten(0, (size, -1)))
        return tuple(unfolded), tuple([0] * len(unfolded))


def _second_order(
    x: Inputs,
    order: Order,
    grad_output: Tensor,
    grad_rows: Tensor | None,
    grad_grads: tuple[Tensor | None, ...],
    memory_size: int,
) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
    """-> gradients of (grad_output, grad_rows), and of the inputs by name."""
    with torch.enable_grad():
        leaves = {
            name: value.detach().requires_grad_()
            for name in DIFFERENTIABLE
            if (value := getattr(x, name)) is not None
        }
        upstream = [g.detach().requires_grad_() for g in (grad_output, grad_rows) if g is not None]
        outputs, _, rows, _ = portable.forward(
            portable.widen(x._replace(**leaves)),
            order,
            memory_size,
            want_final=grad_rows is not None,
            differentiable=True,
        )
        results = [outputs.to(x.candidate.dtype), rows][: len(upstream)]
        first = torch.autograd.grad(
            results, list(leaves.values()), upstream, create_graph=True, materialize_grads=True
        )
        wanted = [g for n, g in zip(DIFFERENTIABLE, grad_grads, strict=True) if n in leaves]
        pairs = [
            (g, gg)
            for g, gg in zip(first, wanted, strict=True)
            if gg is not None and g.requires_grad
        ]
        second = torch.autograd.grad(
            [g for g, _ in pairs],
            [*upstream, *leaves.values()],
            [gg for _, gg in pairs],
            materialize_grads=True,
            allow_unused=True,
        )
    n = len(upstream)
    return second[:n], dict(zip(leaves, second[n:], strict=True))


def _call(function: Any, operator: Any, args: tuple[Any, ...]) -> Any:
    transformed = not torch.compiler.is_compiling() and torch._C._are_functorch_transforms_active()
    return function.apply(*args) if transformed else operator(*args)


# vmap folds the mapped dimension into the batch. The factors of the fresh memory, which all
# sequences share, become one set for each sequence; the order and the versions are of the whole.


def _fold(value: Tensor | None, dim: int | None, size: int) -> Tensor | None:
    if value is None:
        return None
    value = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
    return value.flatten(0, 1)


def _fold_inputs(size: int, dims: Any, tensors: Any) -> list[Tensor | None]:
    batch = tensors[0].shape[0] if dims[0] is None else tensors[0].movedim(dims[0], 0).shape[1]
    folded = []
    for name, dim, value in zip(Inputs._fields, dims, tensors, strict=True):
        if value is not None and name.startswith("fresh"):
            value = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            value = value.unsqueeze(1).expand(size, batch, *value.shape[1:]).flatten(0, 2)
            folded.append(value.contiguous())
        else:
            folded.append(_fold(value, dim, size))
    return folded


def memory_scan(*args: Any) -> list[Tensor]:
    """The operator, by the way that the transforms which are active ask for."""
    return list(_call(_Forward, torch.ops.ramgru.memory_scan, args))[:3]


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
