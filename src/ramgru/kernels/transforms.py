"""Operators under torch.func, whose transforms need an autograd.Function in place of an operator.

The vmap rules fold the mapped dimension into the batch, so that one call computes all entries.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.autograd import forward_ad


def call(function: type[torch.autograd.Function], operator: Any, args: tuple[Any, ...]) -> Any:
    """Call the operator, or the Function with the same forward if a transform is active.

    Forward-mode AD takes the Function too, which refuses; the operator would drop the tangents.
    """
    if torch.compiler.is_compiling():
        return operator(*args)
    active = torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0
    return function.apply(*args) if active else operator(*args)


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
