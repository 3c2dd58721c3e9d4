"""`torch.ops.ramgru.gru`: the exact GRU as one operator, so that a traced graph fits every length.

Eager code does not come here: it runs the kernels through `Fused`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch
from ramgru.kernels.recurrence import cpu, reference
from ramgru.kernels.recurrence.torch import mapped, uninitialised
from ramgru.kernels.transforms import call

MaybeTensor = Tensor | None

TENSORS = 4  # the first arguments, which have gradients: projected, initial, weight_hh, bias_hh


@torch.library.custom_op("ramgru::gru", mutates_args=())
def gru_op(
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> tuple[Tensor, Tensor]:
    args = (projected, initial, weight_hh, bias_hh, reset, lengths)
    if not projected.numel():
        return uninitialised(projected, initial)[0], initial.clone()
    if dispatch.choose(*args, in_operator=True).path == dispatch.CPU:
        return cpu.gru_forward(*args, False)[0]
    return reference.gru(*args)


gru_op.register_fake(uninitialised)


@torch.library.custom_op("ramgru::gru_backward", mutates_args=())
def gru_backward_op(
    grad_states: Tensor,
    grad_last: Tensor,
    projected: Tensor,
    initial: Tensor,
    weight_hh: Tensor,
    bias_hh: MaybeTensor,
    reset: MaybeTensor,
    lengths: MaybeTensor,
) -> list[Tensor]:
    """-> gradients of the first four inputs, without one for an absent bias. It runs forward again
    for the gates of all steps."""
    args = (projected, initial, weight_hh, bias_hh, reset, lengths)
    given = [t for t in args[:TENSORS] if t is not None]
    if not projected.numel():
        return [grad_last.clone() if t is initial else torch.zeros_like(t) for t in given]
    if dispatch.choose(*args, in_operator=True).path == dispatch.CPU:
        kept = cpu.gru_forward(*args, True)[1]
        needed = (*(t is not None for t in args[:TENSORS]), False, False)
        found = cpu.gru_backward((grad_states, grad_last), kept, needed, *args, True)
        return [g.contiguous() for g in found if g is not None]
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_() for t in given]
        bias = None if bias_hh is None else leaves[-1]
        results = reference.gru(leaves[0], leaves[1], leaves[2], bias, reset, lengths)
        grads = torch.autograd.grad(results, leaves, (grad_states, grad_last))
    return [g.contiguous() for g in grads]


@gru_backward_op.register_fake
def _(grad_states: Tensor, grad_last: Tensor, *args: Any) -> list[Tensor]:
    return [t.new_empty(t.shape) for t in args[:TENSORS] if t is not None]


class _Gru(torch.autograd.Function):
    """The operator for torch.func's transforms, which need an autograd.Function."""

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, Tensor]:
        states, last = torch.ops.ramgru.gru(*args)
        return states, last

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
        """By the equations: so derivatives of every order can be mapped over."""
        *given, reset, lengths = ctx.saved_tensors
        leaves = [t for t in given if t is not None]

        def run(*leaves: Tensor) -> tuple[Tensor, Tensor]:
            bias = leaves[3] if len(leaves) == TENSORS else None
            x, h, weight = leaves[:3]
            return reference.gru(x, h, weight, bias, reset, lengths)

        found = torch.func.vjp(run, *leaves)[1](tuple(grads))
        return *found, *[None] * (TENSORS - len(leaves)), None, None

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
        return mapped(torch.ops.ramgru.gru, gru, info, in_dims, args)


def _backward(ctx: Any, *grads: Tensor) -> tuple[Any, ...]:
    found = torch.ops.ramgru.gru_backward(*grads, *ctx.saved_tensors)
    return *found, *[None] * (TENSORS - len(found)), None, None


gru_op.register_autograd(_backward, setup_context=_Gru.setup_context)
gru_op.register_vmap(_Gru.vmap)


def gru(*args: Any) -> tuple[Tensor, Tensor]:
    """As `reference.gru`: its own code in eager mode, which has derivatives of every order; the
    operator where a graph is traced, or its Function under torch.func."""
    if dispatch.is_eager():
        return reference.gru(*args)
    states, last = call(_Gru, torch.ops.ramgru.gru, args[:6])
    return states, last
