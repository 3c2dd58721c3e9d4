"""vmap of `memory_scan`: the mapped dimension becomes part of the batch.

The factors of the fresh memory, which all sequences share, become one set for each sequence. The
order of events and the versions are those of the folded batch and are never mapped themselves.
V entries of the mapped dimension; other letters as in `plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from ramgru.kernels.transforms import fold


def batch_size(dim: int | None, value: Tensor) -> int:
    """B, of a value (B, ...) that is mapped over `dim`, or is not"""
    return value.shape[0] if dim is None else value.movedim(dim, 0).shape[1]


def fold_named(
    names: Sequence[str], size: int, batch: int, dims: Sequence[Any], tensors: Sequence[Any]
) -> list[Tensor | None]:
    """Inputs, or gradients of inputs, by the inputs' names -> the same of a batch of V·B."""
    folded = []
    for name, dim, value in zip(names, dims, tensors, strict=True):
        if value is not None and name.startswith("fresh"):  # (H, ...) -> (V·B·H, ...)
            value = value.expand(size, *value.shape) if dim is None else value.movedim(dim, 0)
            value = value.unsqueeze(1).expand(size, batch, *value.shape[1:]).flatten(0, 2)
            folded.append(value.contiguous())
        else:
            folded.append(fold(value, dim, size))
    return folded


def unfold_named(
    names: Sequence[str], size: int, batch: int, grads: Sequence[Tensor]
) -> tuple[tuple[Tensor, ...], tuple[int, ...]]:
    """Gradients of a folded batch -> (V, ...) each, a shared factor's summed over the batch."""
    unfolded = []
    for name, grad in zip(names, grads, strict=True):
        if grad.dim() == 1:  # there is no such input
            unfolded.append(grad.expand(size, 0))
        elif name.startswith("fresh"):
            heads = grad.shape[0] // (size * batch)
            unfolded.append(grad.unflatten(0, (size, batch, heads)).sum(1))
        else:
            unfolded.append(grad.unflatten(0, (size, batch)))
    return tuple(unfolded), (0,) * len(unfolded)
