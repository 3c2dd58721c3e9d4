"""The layers that performance.py measures: this project's, torch's, and those of other projects.

A layer that is not installed is left out, and the page says so: pip install -c constraints.txt
".[bench]".
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ramgru import RAMGRU, Memory

# Weights that are not multiplied with the layer's input.
INNER = ("hh", "read_out", "codes", "out_proj", "to_out")


@dataclass(frozen=True)
class Contender:
    """A module, and a function from x (B, T, width) to its outputs."""

    module: nn.Module
    run: Callable[[Tensor], Tensor]
    dtype: torch.dtype = torch.float32  # of its products
    bare: bool = False  # an operation without a layer's weights

    def train(self, x: Tensor) -> None:
        """Forward, then backward from the sum of the outputs."""
        self.run(x).sum().backward()
        self.module.zero_grad()
        x.grad = None

    def forward(self, x: Tensor) -> None:
        with torch.no_grad():
            self.run(x)

    def products(self, mode: str) -> int:
        """Multiplications by weights in one time step, which no implementation can avoid.

        Forward has one per weight. Backward has one for the weight's gradient and one for the
        gradient of the weight's input; a first layer's input needs no gradient.
        """
        total = 0
        for name, p in self.module.named_parameters():
            if p.dim() > 1 and not self.bare:
                inner = any(part in name for part in INNER)
                total += p.numel() * {"forward": 1, "first": 2 + inner, "inside": 3}[mode]
        return total


def ram(
    width: int,
    controller: str = "gru",
    checkpoint_every: int | None = None,
    num_layers: int = 1,
    **memory: Any,
) -> RAMGRU:
    """This project's layer; `memory` are changes of the default memory."""
    return RAMGRU(
        width,
        width,
        num_layers,
        batch_first=True,
        memory=Memory(**memory),
        controller=controller,
        checkpoint_every=checkpoint_every,
    )


def of(module: nn.Module) -> Contender:
    """A module that returns (outputs, state)."""
    return Contender(module, lambda x: module(x)[0])


def bfloat16(module: nn.Module) -> Contender:
    def cast(x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return module(x)[0]

    return Contender(module, cast, torch.bfloat16)


def gru_kernel(width: int) -> Contender:
    """nn.GRU's parameters and torch's input projection, with this project's kernel."""
    from ramgru.kernels.recurrence import gru

    module = nn.GRU(width, width, batch_first=True)
    weight_ih, weight_hh, bias_ih, bias_hh = module.all_weights[0]

    def run(x: Tensor) -> Tensor:
        projected = nn.functional.linear(x, weight_ih, bias_ih)
        start = x.new_zeros(x.shape[0], width)
        return gru(projected, start, weight_hh, bias_hh)[0]

    return Contender(module, run)


def gated_delta_rule(width: int, heads: int = 4) -> Contender:
    """transformers' chunked gated delta rule, an operation without weights; x holds its values."""
    from transformers.models.qwen3_next.modeling_qwen3_next import torch_chunk_gated_delta_rule

    class Inputs(nn.Module):  # leaves that need gradients, made when the shape is known
        pass

    inputs = Inputs()

    def run(x: Tensor) -> Tensor:
        B, T, _ = x.shape
        if not list(inputs.parameters()):
            for name, size in (("query", width), ("key", width), ("decay", heads), ("beta", heads)):
                inputs.register_parameter(name, nn.Parameter(torch.randn(B, T, size)))
        shape = (B, T, heads, width // heads)
        return torch_chunk_gated_delta_rule(
            inputs.query.view(shape),
            nn.functional.normalize(inputs.key.view(shape), dim=-1),
            x.view(shape),
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


OURS, PARALLEL, BASE, KERNEL = "RAMGRU", "RAMGRU, mingru", "nn.GRU", "exact GRU kernel"
MAKERS: dict[str, Callable[[int], Contender]] = {
    OURS: lambda width: of(ram(width)),
    PARALLEL: lambda width: of(ram(width, "mingru")),
    "RAMGRU, diagonal": lambda width: of(ram(width, "diagonal")),
    f"{PARALLEL}, bfloat16": lambda width: bfloat16(ram(width, "mingru")),
    KERNEL: gru_kernel,
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
    """-> contenders by name, and the reason for each that is left out"""
    found, missing = {}, {}
    for name in names or MAKERS:
        torch.manual_seed(0)
        try:
            found[name] = MAKERS[name](width)
        except ImportError as error:
            missing[name] = str(error)
    return found, missing
