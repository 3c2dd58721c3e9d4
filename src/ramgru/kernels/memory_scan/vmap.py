"""vmap of `memory_scan`: the mapped dimension becomes part of the batch.

The factors of the fresh memory and the match and null of tagged reads, which sequences share,
become a set for each sequence. The tensors saved for backward belong to the folded batch and are
never mapped. V is the size of the mapped dimension.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ramgru.kernels.transforms import fold

SHARED = ("fresh_left", "fresh_right", "match", "null")  # (H, ...)


def batch_size(dim: int | None, value: Tensor) -> int:
    """B of a value (B, ...), which may be mapped over `dim`"""
    return value.shape[0] if dim is None else value.movedim(dim, 0).shape[1]


def fold_named(
    names: Sequence[str], size: int, batch: int, dims: Sequence[Any], tensors: Sequence[Any]
) -> list[Tensor | None]:
    """Inputs, or gradients of inputs, under the inputs' names -> the same for a batch of V·B."""
    folded = []
    for name, dim, value in zip(names, dims, tensors, strict=True):
        if value is not None and name in SHARED:  # (H, ...) -> (V·B·H, ...)
            value = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            value = value.unsqueeze(1).expand(size, batch, *value.shape[1:]).flatten(0, 2)
            folded.append(value.contiguous())
        else:
            folded.append(fold(value, dim, size))
    return folded


def unfold_named(
    names: Sequence[str], size: int, batch: int, grads: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Gradients of a folded batch -> (V, ...) each; those of shared factors are summed over B."""
    unfolded = []
    for name, grad in zip(names, grads, strict=True):
        if grad.shape == (0,):  # this input is absent
            unfolded.append(grad.expand(size, 0))
        elif name in SHARED:
            heads = grad.shape[0] // (size * batch)
            unfolded.append(grad.unflatten(0, (size, batch, heads)).sum(1))
        else:
            unfolded.append(grad.unflatten(0, (size, batch)))
    return tuple(unfolded), (0,) * len(unfolded)
