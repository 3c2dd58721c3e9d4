"""Second derivatives of `memory_scan`: autograd, twice, through differentiable PyTorch code.

Third derivatives are refused, because the second ones are detached from their inputs.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ramgru.kernels.memory_scan.inputs import DIFFERENTIABLE, Inputs, widen
from ramgru.kernels.memory_scan.torch import chains, run
from ramgru.kernels.memory_scan.uneven import even
from ramgru.kernels.memory_scan.vmap import batch_size, fold_named, unfold_named
from ramgru.kernels.transforms import fold, one_by_one

UPSTREAM = 2  # gradients of outputs and of final rows; the latter may be None
INPUTS = UPSTREAM + len(DIFFERENTIABLE)  # position of the first input


class SecondBackward(torch.autograd.Function):
    """The backward of memory_scan's backward.

    Arguments: grad of outputs, grad of rows, grads of the first gradients in the order of
    DIFFERENTIABLE, the inputs, size, counts (as in `uneven`).
    -> gradients of the first two and of DIFFERENTIABLE; an empty tensor for absent inputs.
    """

    @staticmethod
    def forward(*args: Any) -> tuple[Tensor, ...]:
        grad_output, grad_rows = args[:UPSTREAM]
        wanted = args[UPSTREAM:INPUTS]
        memory_size, counts = args[-2:]
        x = Inputs(*args[INPUTS:-2])
        path = chains.build(even(x, counts), memory_size, want_final=grad_rows is not None)
        with torch.enable_grad():
            leaves = {
                name: value.detach().requires_grad_()
                for name in DIFFERENTIABLE
                if (value := getattr(x, name)) is not None
            }
            upstream = [
                g.detach().requires_grad_() for g in (grad_output, grad_rows) if g is not None
            ]
            outputs, _, rows, _ = run(
                widen(even(x._replace(**leaves), counts)),
                path,
                memory_size,
                want_final=grad_rows is not None,
                differentiable=True,
            )
            results = [outputs.to(x.candidate.dtype), rows][: len(upstream)]
            first = torch.autograd.grad(
                results, list(leaves.values()), upstream, create_graph=True, materialize_grads=True
            )
            given = [g for name, g in zip(DIFFERENTIABLE, wanted, strict=True) if name in leaves]
            pairs = [
                (g, gg)
                for g, gg in zip(first, given, strict=True)
                if gg is not None and g.requires_grad
            ]
            second = torch.autograd.grad(
                [g for g, _ in pairs],
                [*upstream, *leaves.values()],
                [gg for _, gg in pairs],
                materialize_grads=True,
                allow_unused=True,
            )
        none = grad_output.new_empty(0)
        by_name = dict(zip(leaves, second[len(upstream) :], strict=True))
        return (
            second[0],
            none if grad_rows is None else second[1],
            *(by_name.get(name, none.clone()) for name in DIFFERENTIABLE),
        )

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        pass  # nothing is saved: there is no further backward

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> Any:
        raise NotImplementedError("memory_scan: derivatives of third order are not available")

    @staticmethod
    def vmap(info: Any, in_dims: Any, *args: Any) -> Any:
        size, dims = info.batch_size, in_dims
        if all(dim is None for dim in dims[INPUTS:-2]):
            return one_by_one(SecondBackward.apply, size, dims, args)
        batch = batch_size(dims[INPUTS], args[INPUTS])
        upstream = [fold(args[i], dims[i], size) for i in range(UPSTREAM)]
        wanted = fold_named(
            DIFFERENTIABLE, size, batch, dims[UPSTREAM:INPUTS], args[UPSTREAM:INPUTS]
        )
        inputs = fold_named(Inputs._fields, size, batch, dims[INPUTS:-2], args[INPUTS:-2])
        found = SecondBackward.apply(*upstream, *wanted, *inputs, *args[-2:])
        return unfold_named(("", "", *DIFFERENTIABLE), size, batch, found)
