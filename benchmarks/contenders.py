"""Who is measured in performance.py: this project's layers, torch's, and those of other projects.

Each is a module and a function from x (B, T, width) to outputs. What is not installed is left out,
and a line says so: pip install -c constraints.txt ".[bench]".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramgru import RAMGRU

HEADS, TOP_K, CELLS = 4, 4, 4096
INNER = (
    "hh",
    "read_out",
    "codes",
    "out_proj",
    "to_out",
)  # weights that are not multiplied with the input


@dataclass(frozen=True)
class Contender:
    module: nn.Module
    run: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32  # of its products
    bare: bool = False  # an operation without a layer's weights

    def train(self, x: Tensor) -> None:
        """Forward, and backward from the sum of what comes out."""
        self.run(x).sum().backward()
        self.module.zero_grad()
        x.grad = None

    def forward(self, x: Tensor) -> None:
        with torch.no_grad():
            self.run(x)

    def products(self, mode: str) -> int:
        """Multiplications with weights for one time step, which nothing can do without.

        Forward one for each weight; backward one for the weight's gradient and, but for the
        weights that meet an input without a gradient, one for that of what it is multiplied with.
        """
        total = 0
        for name, p in self.module.named_parameters():
            if p.dim() > 1 and not self.bare:
                inner = any(part in name for part in INNER)
                total += p.numel() * {"forward": 1, "first": 2 + inner, "inside": 3}[mode]
        return total


def ram(width: int, controller: str = "mingru", **options: Any) -> RAMGRU:
    options = {"memory_size": CELLS, "num_heads": HEADS, "top_k": TOP_K} | options
    return RAMGRU(width, width, batch_first=True, controller=controller, **options)


def first(module: nn.Module) -> Callable[[Tensor], Tensor]:
    """The outputs of a module that gives (outputs, state)."""
    return lambda x: module(x)[0]


def autocast(run: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    def cast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return run(x)

    return cast


def gru_kernel(width: int) -> Contender:
    """The exact GRU by this project's kernel: nn.GRU's parameters, its projection by torch."""
    from ramgru.kernels.gru import gru

    module = nn.GRU(width, width, batch_first=True)
    weight_ih, weight_hh, bias_ih, bias_hh = module.all_weights[0]

    def run(x: Tensor) -> Tensor:
        projected = nn.functional.linear(x, weight_ih, bias_ih)
        start = x.new_zeros(x.shape[0], width)
        return gru((projected, start, weight_hh, bias_hh, None, None))[0]

    return Contender(module, run)


def gated_delta_rule(width: int) -> Contender:
    """transformers' gated delta rule over chunks, the bare operation: x is its values."""
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    class Inputs(nn.Module):  # leaves that want gradients, made when the shape is known
        pass

    inputs = Inputs()

    def run(x: Tensor) -> Tensor:
        B, T, _ = x.shape
        if not list(inputs.parameters()):
            for name, size in (("query", width), ("key", width), ("decay", HEADS), ("beta", HEADS)):
                inputs.register_parameter(name, nn.Parameter(torch.randn(B, T, size)))
        heads = (B, T, HEADS, width // HEADS)
        return torch_chunk_gated_delta_rule(
            inputs.query.view(heads),
            nn.functional.normalize(inputs.key.view(heads), dim=-1),
            x.view(heads),
            nn.functional.logsigmoid(inputs.decay),
            torch.sigmoid(inputs.beta),
        )[0]

    return Contender(inputs, run, bare=True)


def mingru_scans(name: str) -> Callable[[int], Contender]:
    def make(width: int) -> Contender:
        import mingru

        module = getattr(mingru, name)(width, width)
        return Contender(module, module)

    return make


def mingru_pytorch(width: int) -> Contender:
    from minGRU_pytorch import minGRU

    module = minGRU(width)
    return Contender(module, module)


def of(module: nn.Module) -> Contender:
    return Contender(module, first(module))


def bfloat16(module: nn.Module) -> Contender:
    return Contender(module, autocast(first(module)), torch.bfloat16)


OURS, BASE = "RAMGRU mingru", "nn.GRU"
MAKERS: dict[str, Callable[[int], Contender]] = {
    OURS: lambda width: of(ram(width)),
    f"{OURS}, bfloat16": lambda width: bfloat16(ram(width)),
    "RAMGRU gru": lambda width: of(ram(width, "gru")),
    "exact GRU kernel": gru_kernel,
    BASE: lambda width: of(nn.GRU(width, width, batch_first=True)),
    f"{BASE}, bfloat16": lambda width: bfloat16(nn.GRU(width, width, batch_first=True)),
    "nn.LSTM": lambda width: of(nn.LSTM(width, width, batch_first=True)),
    "mingru-scans MinGRU": mingru_scans("MinGRU"),
    "mingru-scans DeltaMinGRU": mingru_scans("DeltaMinGRU"),
    "minGRU-pytorch": mingru_pytorch,
    "gated delta rule (transformers)": gated_delta_rule,
}


def make(
    width: int, names: Sequence[str] | None = None
) -> tuple[dict[str, Contender], dict[str, str]]:
    """-> contenders by name, and why the others are left out"""
    found, missing = {}, {}
    for name in names or MAKERS:
        torch.manual_seed(0)
        try:
            found[name] = MAKERS[name](width)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
