"""An operation that a kernel runs whole, forward and backward, and torch code runs in parts.

The parts are the definition: they run on other devices, under torch.compile, torch.export and
torch.func, and give the derivatives of second and higher order.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from ramgru.kernels import gpu, native

MaybeTensor = Tensor | None


@dataclass(frozen=True)
class Fused:
    """Three functions of the same tensors (some may be None) and the same options.

    parts(*tensors, *options)             -> a tuple of tensors, by differentiable torch code
    forward(*tensors, *options)           -> the same tuple, and a list of what backward needs
    backward(grads, kept, needed, *tensors, *options) -> a gradient or None for each tensor;
        grads are those of the tuple, None where nothing depends on one; needed says of each
        tensor whether its gradient is wanted
    triton: the module of a Triton kernel with its own forward and backward, for a GPU
    """

    parts: Callable[..., tuple[Tensor, ...]]
    forward: Callable[..., tuple[tuple[Tensor, ...], list[Tensor]]]
    backward: Callable[..., Sequence[MaybeTensor]]
    triton: str | None = None

    def __call__(self, tensors: Sequence[MaybeTensor], *options: Any) -> tuple[Tensor, ...]:
        if is_plain():
            if native.runs(*tensors):
                return _Function.apply(self, options, *tensors)
            if self.triton is not None and gpu.takes(*tensors):
                return _Function.apply(self._on_gpu(), options, *tensors)
        return self.parts(*tensors, *options)

    def _on_gpu(self) -> Fused:
        assert self.triton is not None
        kernel = importlib.import_module(self.triton)
        return Fused(self.parts, kernel.forward, kernel.backward)


def is_plain() -> bool:
    """Whether numbers are simply computed: nothing traces or transforms."""
    return not (
        torch.compiler.is_compiling()
        or torch._C._are_functorch_transforms_active()
        or forward_ad._current_level >= 0
        or torch._C._len_torch_dispatch_stack() > 0
    )


class _Function(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, fused: Fused, options: tuple[Any, ...], *tensors: MaybeTensor) -> Any:
        results, kept = fused.forward(*tensors, *options)
        ctx.fused, ctx.options, ctx.given = fused, options, len(tensors)
        ctx.save_for_backward(*tensors, *kept)
        ctx.mark_non_differentiable(*(r for r in results if not r.is_floating_point()))
        ctx.set_materialize_grads(False)
        return results

    @staticmethod
    def backward(ctx: Any, *grads: MaybeTensor) -> Any:
        saved = ctx.saved_tensors
        tensors, kept = saved[: ctx.given], saved[ctx.given :]
        needed = ctx.needs_input_grad[2:]
        if all(g is None for g in grads):
            return None, None, *[None] * ctx.given
        if torch.is_grad_enabled():  # a graph of the gradients is wanted
            found = _by_parts(ctx.fused.parts, tensors, ctx.options, grads, needed)
        else:
            found = ctx.fused.backward(grads, kept, needed, *tensors, *ctx.options)
        return (
            None,
            None,
            *(g if need else None for g, need in zip(found, needed, strict=True)),
        )


def _by_parts(
    parts: Callable[..., tuple[Tensor, ...]],
    tensors: Sequence[MaybeTensor],
    options: tuple[Any, ...],
    grads: Sequence[MaybeTensor],
    needed: Sequence[bool],
) -> list[MaybeTensor]:
    # Views, so that gradients stop here and do not run on into what made the tensors.
    views = [t if t is None or not need else t.view_as(t) for t, need in zip(tensors, needed)]
    results = parts(*views, *options)
    pairs = [(r, g) for r, g in zip(results, grads, strict=True) if g is not None]
    wanted = [v for v, need in zip(views, needed) if v is not None and need]
    found = iter(
        torch.autograd.grad(
            [r for r, _ in pairs],
            wanted,
            [g for _, g in pairs],
            create_graph=True,
            allow_unused=True,
        )
    )
    return [next(found) if need else None for need in needed]
