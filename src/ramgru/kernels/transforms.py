"""Operators under torch.func, whose transforms need an autograd.Function in place of an operator.

The vmap rules fold the mapped dimension into the batch, so that one call computes all entries.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad

NO_FORWARD_MODE = (
    "ramgru: a layer with a memory has no derivatives in forward mode (torch.func.jvp, jacfwd, "
    "torch.autograd.forward_ad); torch.autograd.functional.jvp(f, x, v) gives the same product by "
    "two backward passes, and torch.func.jacrev(f)(x) a whole Jacobian"
)


def call(function: type[torch.autograd.Function], operator: Any, args: tuple[Any, ...]) -> Any:
    """Call the operator, or the Function with the same forward if a transform is active.

    Forward-mode AD takes the Function too, which refuses; the operator would drop the tangents.
    """
    if torch.compiler.is_compiling():
        return operator(*args)
    active = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return apply(function, *args) if active else operator(*args)


def apply(function: type[torch.autograd.Function], *args: Any) -> Any:
    """`function.apply`; in forward mode, of a Function that says how to go without."""
    if not torch.compiler.is_compiling() and forward_ad._current_level >= 0:
        function = _refusing(function)
    return function.apply(*args)


@functools.cache
def _refusing(function: type[torch.autograd.Function]) -> type[torch.autograd.Function]:
    """A class of its own, since torch.compile takes no Function that has a `jvp`."""

    class Refusing(function):  # type: ignore[valid-type, misc]
        @staticmethod
        def jvp(ctx: Any, *tangents: Any) -> Any:
            raise NotImplementedError(NO_FORWARD_MODE)

    return Refusing


def is_readable(x: Tensor) -> bool:
    """Whether the data can be read: not while compiling, on the meta device or under vmap."""
    if torch.compiler.is_compiling() or x.device.type == "meta":
        return False
    while torch._C._functorch.is_functorch_wrapped_tensor(x):
        if torch._C._functorch.is_batchedtensor(x):
            return False
        x = torch._C._functorch.get_unwrapped(x)
    return True


MaybeTensor = TypeVar("MaybeTensor", Tensor, Tensor | None)


def fold(value: MaybeTensor, dim: int | None, size: int) -> MaybeTensor:
    """(B, ...) mapped over `dim` with `size` entries -> (size·B, ...)"""
    if value is None:
        return value
    value = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
    return value.flatten(0, 1)


def one_by_one(
    function: Callable[..., Sequence[Tensor]], size: int, dims: Sequence[Any], args: Sequence[Any]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """vmap as a loop, for inputs that cannot be folded."""
    each = [
        function(
            *(
                a.select(dim, i) if isinstance(dim, int) else a  # not mapped, or no tensor
                for a, dim in zip(args, dims, strict=True)
            )
        )
        for i in range(size)
    ]
    stacked = tuple(torch.stack(values) for values in zip(*each, strict=True))
    return stacked, (0,) * len(stacked)
