"""Who is measured in gpu.py: this project's layer and operators, cuDNN's GRU, and other projects'.

The others are flash-linear-attention's: pip install flash-linear-attention. What cannot be imported
is left out, and a line says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ramgru import RAMGRU
from ramgru.kernels.linear_scan import linear_scan
from ramgru.kernels.memory_scan import memory_scan
from ramgru.kernels.product_keys import product_keys
from ramgru.keys import factorise

Call = Callable[[], object]
Shape = tuple[int, int, int]  # sequences, steps, width
OURS, GRU = "RAMGRU mingru", "nn.GRU (cuDNN)"
DELTANET, SLOTS = "Gated DeltaNet (fla)", "Gated slot attention (fla)"


def ram(width: int, controller: str = "mingru", **options: Any) -> Callable[[], nn.Module]:
    options = {"memory_size": 2**16, "num_heads": 4, "top_k": 4} | options
    return lambda: RAMGRU(width, width, batch_first=True, controller=controller, **options)


def gated_deltanet(width: int) -> nn.Module:
    """Its own advice on sizes: heads times their width are 3/4 of the width."""
    from fla.layers import GatedDeltaNet

    head = max(16, min(64, width // 4))
    return GatedDeltaNet(hidden_size=width, head_dim=head, num_heads=max(1, 3 * width // 4 // head))


def slot_attention(width: int) -> nn.Module:
    from fla.layers import GatedSlotAttention

    return GatedSlotAttention(hidden_size=width, num_heads=4, num_slots=64, layer_idx=0)


def layers(width: int) -> dict[str, Callable[[], nn.Module]]:
    return {
        OURS: ram(width),
        "RAMGRU gru": ram(width, "gru"),
        GRU: lambda: nn.GRU(width, width, batch_first=True),
        DELTANET: lambda: gated_deltanet(width),
        SLOTS: lambda: slot_attention(width),
    }


def train_step(module: nn.Module, shape: Shape, device: str, half: bool) -> Call:
    """Forward, and backward to the weights and the input; `half` is autocast to bfloat16."""
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
    """Those that can be imported; `missing` is told of the others."""
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


def memory(B: int, T: int, H: int, D: int, K: int, N: int, device: str) -> tuple[Call, Call]:
    def index() -> Tensor:
        return torch.randint(N, (B, T, H, K), device=device)

    write, read = index(), index()

    def run(weight: Tensor, gate: Tensor, candidate: Tensor, read_weight: Tensor) -> Tensor:
        return memory_scan(
            *(write, weight, gate, candidate, read, read_weight),
            memory_size=N,
            want_final=False,
        )[0]

    weight, read_weight = (torch.rand(B, T, H, K, device=device) for _ in range(2))
    leaves = [weight, torch.rand(B, T, H, device=device), torch.randn(B, T, H, D, device=device)]
    return both_ways(run, [*leaves, read_weight / read_weight.sum(-1, keepdim=True)])


def memory_bytes(B: int, T: int, H: int, D: int, K: int, backward: bool) -> int:
    """The least that has to move in float32, with the rows of the cells in the GPU's memory.

    Forward: addresses, gate, candidate and output once; the rows written, read and put back; the
    rows read. Backward: the inputs and the output's gradient once more, their gradients, the rows
    again, and the gradients of the rows read and put back at every write and read.
    """
    given = 2 * K * (8 + 4) + 4 + 4 * D
    rows = 4 * D * (2 * K + K)
    once = given + 4 * D + rows
    back = given + 4 * D + (2 * K * 4 + 4 + 4 * D) + rows + 4 * D * (2 * K + 2 * K)
    return B * T * H * (once + back if backward else once)


def recurrence(B: int, T: int, H: int, device: str) -> tuple[Call, Call]:
    decay, update = torch.rand(B, T, H, device=device), torch.randn(B, T, H, device=device)
    return both_ways(linear_scan, [decay, update, torch.zeros(B, H, device=device)])


def addresses(B: int, T: int, H: int, K: int, N: int, device: str) -> tuple[Call, Call]:
    sizes = factorise(N, 2)
    width = H * len(sizes) * 16
    codes = torch.randn(H, sum(sizes), 16, device=device)
    before, nothing = torch.zeros(B, 1, width, device=device), torch.zeros(width, device=device)

    def run(query: Tensor, sharpness: Tensor) -> Tensor:
        given = (query, before, nothing, codes, sharpness, None)
        return product_keys(given, K, K, sizes, (1,) * H)[3]

    query = torch.randn(B, T, width, device=device)
    return both_ways(run, [query, torch.zeros(H, device=device)])


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
