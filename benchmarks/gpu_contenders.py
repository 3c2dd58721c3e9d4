"""The layers and operators that gpu.py measures: this project's, cuDNN's GRU, and those of
flash-linear-attention (pip install flash-linear-attention). A contender that cannot be imported is
left out, and the page says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ramgru import RAMGRU, Memory
from ramgru.config import codebook_sizes
from ramgru.kernels.address import product_keys
from ramgru.kernels.memory_scan import memory_scan
from ramgru.kernels.recurrence import linear_scan

Call = Callable[[], object]
Shape = tuple[int, int, int]  # sequences, steps, width
OURS, PARALLEL, GRU = "RAMGRU", "RAMGRU, mingru", "nn.GRU (cuDNN)"
DELTANET, SLOTS = "Gated DeltaNet (fla)", "Gated slot attention (fla)"


def ram(width: int, controller: str = "gru", **memory: Any) -> Callable[[], nn.Module]:
    options = Memory(**{"cells": 2**16, **memory})
    return lambda: RAMGRU(width, width, batch_first=True, memory=options, controller=controller)


def gated_deltanet(width: int) -> nn.Module:
    """At the sizes that it recommends: heads times their width are 3/4 of the width."""
    from fla.layers import GatedDeltaNet

    head = max(16, min(64, width // 4))
    return GatedDeltaNet(hidden_size=width, head_dim=head, num_heads=max(1, 3 * width // 4 // head))


def slot_attention(width: int) -> nn.Module:
    from fla.layers import GatedSlotAttention

    return GatedSlotAttention(hidden_size=width, num_heads=4, num_slots=64, layer_idx=0)


def layers(width: int) -> dict[str, Callable[[], nn.Module]]:
    return {
        OURS: ram(width),
        PARALLEL: ram(width, "mingru"),
        "RAMGRU, diagonal": ram(width, "diagonal"),
        GRU: lambda: nn.GRU(width, width, batch_first=True),
        DELTANET: lambda: gated_deltanet(width),
        SLOTS: lambda: slot_attention(width),
    }


def train_step(module: nn.Module, shape: Shape, device: str, half: bool) -> Call:
    """Forward and backward to the weights and the input; half: under autocast to bfloat16."""
    module = module.to(device)
    x = torch.randn(shape, device=device, requires_grad=True)
    grad = torch.randn(shape, device=device)

    def step() -> None:
        with torch.autocast(device, torch.bfloat16, enabled=half):
            y = module(x)[0]
        y.backward(grad.to(y.dtype))
        module.zero_grad(set_to_none=True)
        x.grad = None

    return step


def made(makers: Mapping[str, Callable[[], Call]], missing: dict[str, str]) -> dict[str, Call]:
    """The contenders that can be imported; `missing` gets the reasons for the others."""
    found = {}
    for name, make in makers.items():
        torch.manual_seed(0)
        try:
            found[name] = make()
        except ImportError as error:
            missing[name] = str(error)
    return found


# Bare operators


def both_ways(run: Callable[..., Tensor], leaves: list[Tensor]) -> tuple[Call, Call]:
    """-> forward alone, and forward with backward."""
    for leaf in leaves:
        leaf.requires_grad_(leaf.is_floating_point())
    with torch.no_grad():
        grad = torch.randn_like(run(*leaves))

    def forward() -> None:
        with torch.no_grad():
            run(*leaves)

    def train() -> None:
        run(*leaves).backward(grad)
        for leaf in leaves:
            leaf.grad = None

    return forward, train


WRITES, READS = Memory.writes, Memory.reads  # cells a step


def memory(B: int, T: int, H: int, D: int, N: int, device: str) -> tuple[Call, Call]:
    def index(count: int) -> Tensor:
        return torch.randint(N, (B, T, H, count), device=device)

    write, read = index(WRITES), index(READS)

    def run(weight: Tensor, gate: Tensor, candidate: Tensor, read_weight: Tensor) -> Tensor:
        given = (write, weight, gate, candidate, read, read_weight)
        return memory_scan(*given, memory_size=N, want_final=False)[0]

    weight, read_weight = (torch.rand(B, T, H, count, device=device) for count in (WRITES, READS))
    leaves = [weight, torch.rand(B, T, H, device=device), torch.randn(B, T, H, D, device=device)]
    return both_ways(run, [*leaves, read_weight / read_weight.sum(-1, keepdim=True)])


def memory_bytes(B: int, T: int, H: int, D: int, backward: bool) -> int:
    """The least number of bytes to move in float32, with the rows of the cells in GPU memory.

    Forward: addresses, gate, candidate and output once; the written rows, read and stored; the
    rows read. Backward: the inputs and the output's gradient once more, their gradients, the rows
    again, and the gradient of every row touched, read and stored.
    """
    cells = WRITES + READS
    given = cells * (8 + 4) + 4 + 4 * D
    rows = 4 * D * (2 * WRITES + READS)
    once = given + 4 * D + rows
    back = given + 4 * D + (cells * 4 + 4 + 4 * D) + rows + 4 * D * 2 * cells
    return B * T * H * (once + back if backward else once)


def recurrence(B: int, T: int, H: int, device: str) -> tuple[Call, Call]:
    decay, update = torch.rand(B, T, H, device=device), torch.randn(B, T, H, device=device)
    return both_ways(linear_scan, [decay, update, torch.zeros(B, H, device=device)])


def addresses(B: int, T: int, H: int, K: int, N: int, device: str) -> tuple[Call, Call]:
    sizes = codebook_sizes(N)
    codes = torch.randn(H, sum(sizes), 16, device=device)
    features = torch.randn(H, len(sizes) * 16, 16, device=device)
    key, before = (torch.randn(B, steps, H * 16, device=device) for steps in (T, 1))

    def run(sharpness: Tensor) -> Tensor:
        given = (key, before, features, features[..., 0], codes, sharpness, None)
        return product_keys(*given, writes=K, reads=K, sizes=sizes, offsets=(1,) * H)[3]

    return both_ways(run, [torch.zeros(H, device=device)])


def delta_rule(B: int, T: int, H: int, D: int, device: str) -> tuple[Call, Call]:
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    def half(*shape: int) -> Tensor:
        return torch.randn(shape, device=device, dtype=torch.bfloat16)

    q, k, v = (half(B, T, H, D) for _ in range(3))
    decay = nn.functional.logsigmoid(torch.randn(B, T, H, device=device))

    def run(q: Tensor, k: Tensor, v: Tensor, g: Tensor, beta: Tensor) -> Tensor:
        return chunk_gated_delta_rule(q, k, v, g=g, beta=beta, use_qk_l2norm_in_kernel=True)[0]

    return both_ways(run, [q, k, v, decay, half(B, T, H).sigmoid()])


def slots(B: int, T: int, H: int, D: int, device: str) -> tuple[Call, Call]:
    from fla.ops.gsa import chunk_gsa

    q, k, v = (torch.randn(B, T, H, D, device=device, dtype=torch.bfloat16) for _ in range(3))
    gate = nn.functional.logsigmoid(torch.randn(B, T, H, 64, device=device)) / 8

    def run(q: Tensor, k: Tensor, v: Tensor, s: Tensor, g: Tensor) -> Tensor:
        return chunk_gsa(q=q, k=k, v=v, s=s, g=g)[0]

    return both_ways(run, [q, k, v, (1 - gate.exp()).bfloat16(), gate.bfloat16()])
