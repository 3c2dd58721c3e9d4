"""A memory that decays and is added to, from chunk to chunk: what gated_slots and mamba2 share.

B sequences, T steps in N chunks of C.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad


def cut(x: Tensor, steps: int, fill: float = 0) -> Tensor:
    """x (B, T, ...) in chunks of so many steps, the last one filled up -> (B, N, C, ...)"""
    chunks = max(1, -(-x.shape[1] // steps))
    missing = chunks * steps - x.shape[1]
    if missing:
        x = pad(x, (0, 0) * (x.dim() - 2) + (0, missing), value=fill)
    return x.unflatten(1, (chunks, steps))


def carry(added: Tensor, kept: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
    """memory <- kept[n] memory + added[n], for chunk after chunk.

    added (B, N, ...), kept the same with sizes of 1 where it holds for all, memory (B, ...)
    -> the memory before each chunk (B, N, ...), and after the last
    """
    before = []
    for new, share in zip(added.unbind(1), kept.unbind(1)):
        before.append(memory)
        memory = torch.addcmul(new, share, memory)
    return torch.stack(before, dim=1), memory
