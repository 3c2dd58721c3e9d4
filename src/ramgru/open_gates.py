"""The auxiliary loss on open update gates.

Tasks ask a memory for answers while it is nearly empty, so the loss alone never teaches a gate to
stay shut; a price on open gates does. B sequences, T steps, H heads.
"""

from __future__ import annotations

from collections.abc import Iterable
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ramgru.kernels.dispatch import is_eager
from ramgru.ragged import padding_mask

# Of each memory that ran in training mode: the openings of its last forward pass, a pair a call of
# the pass. Kept apart from the modules, so that they can be copied and pickled at any time.
_records: WeakKeyDictionary[nn.Module, list[tuple[Tensor, Tensor | int]]] = WeakKeyDictionary()


def begin(memories: Iterable[nn.Module]) -> None:
    """Forget the former forward pass, and the autograd graph that it keeps alive."""
    if torch.compiler.is_compiling():  # a graph would depend on the records that it found
        return
    for memory in memories:
        _records.pop(memory, None)


def record(memory: nn.Module, gate: Tensor, lengths: Tensor | None) -> None:
    """Note the update gates (B, T, H) of key heads; others fill no further cells."""
    if not (memory.training and torch.is_grad_enabled() and is_eager()):
        return
    opening = gate.to(torch.promote_types(gate.dtype, torch.float32)).sum(-1)  # (B, T)
    opening = opening / max(gate.shape[-1], 1)  # 0 without key heads
    valid: Tensor | int = opening.numel()
    if lengths is not None:
        opening = opening.masked_fill(padding_mask(lengths, opening.shape[1]), 0)
        valid = lengths.sum()
    _records.setdefault(memory, []).append((opening.sum(), valid))


def openings(model: nn.Module) -> list[tuple[Tensor, Tensor | int]]:
    """Of each memory in the last training forward pass: the sum over all steps that are not padding
    of the mean opening of its key heads, with its autograd graph, and the number of these steps."""
    found: list[tuple[Tensor, Tensor | int]] = []
    for memory in model.modules():
        for n, (opening, valid) in enumerate(_records.get(memory, ())):
            if n:
                former, steps = found.pop()
                opening, valid = former + opening, steps + valid
            found.append((opening, valid))
    return found


def write_cost(model: nn.Module, price: float = 0.3) -> Tensor:
    """The auxiliary loss of open gates: add it to the loss of a forward pass in training mode.

    price: cost of a step with all gates open, in units of the loss (nats)
    -> () price times the mean opening of the update gates, over steps, key heads and layers

    Raises ValueError where no `RAMGRU` in `model` ran forward in training mode with gradients, as
    under torch.compile and torch.func, which keep no record.

    >>> layer = RAMGRU(8, 16)
    >>> output, h_n = layer(torch.randn(5, 2, 8))
    >>> loss = output.square().mean() + write_cost(layer)
    """
    if not isinstance(price, int | float):
        raise TypeError(f"price: expected a number, got {type(price).__name__}")
    found = openings(model)
    if not found:
        raise ValueError(
            "model: expected a RAMGRU that ran forward in training mode with gradients (outside "
            f"torch.compile and torch.func), got {type(model).__name__} without such a pass"
        )
    means = [opening / torch.as_tensor(steps).clamp_min(1) for opening, steps in found]
    return price * torch.stack(means).mean()
