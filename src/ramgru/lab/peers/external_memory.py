"""What the Neural Turing Machine and the Differentiable Neural Computer share: a controller beside
a memory, cells looked up by what they hold, erasing and adding.

B rows, N cells of width W, H heads, C units of the controller.
"""

from __future__ import annotations

import torch
from torch import Tensor

SMALLEST = 1e-6  # added to squared lengths before a root is taken: a cell of 1e-6 is like nothing


def lstm(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """gates (B, 4 C) of input, forget, output and candidate, cell (B, C) -> output, cell (B, C)"""
    C = cell.shape[1]
    opened, candidate = gates.split([3 * C, C], dim=1)
    enters, stays, leaves = opened.sigmoid().chunk(3, dim=1)
    cell = torch.addcmul(stays * cell, enters, candidate.tanh())
    return leaves * cell.tanh(), cell


def look_up(keys: Tensor, strength: Tensor, memory: Tensor) -> Tensor:
    """Weights (B, H, N) of the cells that are most like a key: softmax(strength · cosine).

    keys (B, H, W), strength (B, H), memory (B, N, W)
    """
    scale = strength * (keys.square().sum(2) + SMALLEST).rsqrt()
    length = (memory.square().sum(2) + SMALLEST).rsqrt()
    alike = torch.bmm(scale.unsqueeze(2) * keys, memory.mT)
    return (alike * length.unsqueeze(1)).softmax(2)


def erase_and_add(memory: Tensor, weight: Tensor, erase: Tensor, add: Tensor) -> Tensor:
    """memory (B, N, W) * prod_h (1 - weight_h erase_h^T) + sum_h weight_h add_h^T

    weight (B, H, N); erase, add (B, H, W)
    """
    weights, erased, added = weight.unsqueeze(3).unbind(1), erase.split(1, 1), add.split(1, 1)
    for w, e in zip(weights[1:], erased[1:]):
        memory = memory * (1 - w * e)
    # M (1 - w e) + w a = M + w (a - e M), with two tables made instead of four
    memory = memory.addcmul(weights[0], torch.addcmul(added[0], erased[0], memory, value=-1))
    for w, a in zip(weights[1:], added[1:]):
        memory = memory.addcmul(w, a)
    return memory
