"""An operation with a fused kernel and a PyTorch fallback.

The fallback defines the operation. It runs on other devices, under torch.compile, torch.export and
torch.func, and gives the derivatives of second and higher order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ramgru.kernels import dispatch

MaybeTensor = Tensor | None


class Fused:
    """Functions of the same tensors, some of which may be None, and the same options.

    fallback(*tensors, *options)           -> a tuple of tensors, by differentiable PyTorch code
    forward(*tensors, *options)            -> the same tuple, and a list of tensors for backward
    backward(grads, saved, needed, *tensors, *options) -> a gradient or None for each tensor;
        grads are the gradients of the tuple, None if the loss does not depend on a result; needed
        says for each tensor whether its gradient is wanted
    triton: the module of a Triton kernel with its own forward and backward

    The operation is named after the fallback; kernel: the name of its native kernel, NAME_forward
    if it is not given.
    """

    def __init__(
        self,
        fallback: Callable[..., tuple[Tensor, ...]],
        forward: Callable[..., tuple[tuple[Tensor, ...], list[Tensor]]],
        backward: Callable[..., Sequence[MaybeTensor]],
        triton: str = "",
        kernel: str = "",
    ) -> None:
        self.fallback, self.forward, self.backward = fallback, forward, backward
        name = fallback.__name__
        self.operation = dispatch.Operation(name, kernel or f"{name}_forward", triton)

    def __call__(self, tensors: Sequence[MaybeTensor], *options: Any) -> tuple[Tensor, ...]:
        path = self.operation.choose(*tensors).path
        if path == dispatch.TORCH:
            return self.fallback(*tensors, *options)
        kernel: Any = self
        if path == dispatch.TRITON:
            kernel = importlib.import_module(self.operation.triton)
        return _Function.apply(self.fallback, kernel, options, *tensors)


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, fallback: Any, kernel: Any, options: tuple[Any, ...], *tensors: MaybeTensor
    ) -> Any:
        given = dispatch.held(*tensors)
        results, saved = kernel.forward(*given, *options)
        ctx.fallback, ctx.kernel, ctx.options = fallback, kernel, options
        ctx.shapes = [None if t is None else t.shape for t in given]
        ctx.inputs = len(tensors)
        ctx.save_for_backward(*tensors, *saved)
        ctx.mark_non_differentiable(*(r for r in results if not r.is_floating_point()))
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: MaybeTensor) -> Any:
        saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.inputs], saved[ctx.inputs :]
        needed = ctx.needs_input_grad[3:]
        if all(g is None for g in grads):
            return None, None, None, *[None] * ctx.inputs
        grads = tuple(None if g is None else g.resolve_neg() for g in grads)
        differentiable = torch.is_grad_enabled()  # create_graph=True
        if differentiable or not (dispatch.is_eager() and dispatch.are_plain(*grads)):
            with torch.enable_grad():
                found = _by_fallback(
                    ctx.fallback, tensors, ctx.options, grads, needed, differentiable
                )
        else:
            given = dispatch.held(*tensors)
            if [None if t is None else t.shape for t in given] != ctx.shapes:
                raise RuntimeError(
                    f"{ctx.fallback.__name__}: a tensor that backward needs has another shape than "
                    "in forward: its .data was replaced"
                )
            found = ctx.kernel.backward(grads, kept, needed, *given, *ctx.options)
        wanted = (g if need else None for g, need in zip(found, needed, strict=True))
        return None, None, None, *wanted


def _by_fallback(
    fallback: Callable[..., tuple[Tensor, ...]],
    tensors: Sequence[MaybeTensor],
    options: tuple[Any, ...],
    grads: Sequence[MaybeTensor],
    needed: Sequence[bool],
    differentiable: bool,
) -> list[MaybeTensor]:
    # Views, so that gradients stop here instead of running on into the tensors' own history.
    views = [t if t is None or not need else t.view_as(t) for t, need in zip(tensors, needed)]
    results = fallback(*views, *options)
    pairs = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None]
    wanted = [v for v, need in zip(views, needed) if v is not None and need]
    found = iter(
        torch.autograd.grad(
            [r for r, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=differentiable,
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needed]
