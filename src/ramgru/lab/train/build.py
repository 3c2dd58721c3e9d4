"""The configuration of a network and the network that it describes.

Every value is plain data, so a configuration file is enough to build the network again.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

import torch
from torch import nn

from ramgru.config import Memory
from ramgru.lab.spec import joined, nearest, parse
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.lab.train.layers import LAYERS
from ramgru.model import RAMGRUModel
from ramgru.sequence import SequenceModel

__all__ = ["LAYERS", "ModelConfig", "build_model", "count_parameters"]

FLOAT = 4  # bytes
LARGEST = 2**26  # upper bound of the search for a hidden_size or a number of cells


@dataclass(frozen=True)
class ModelConfig:
    """A stack of residual blocks around one kind of sequence layer."""

    layer: str = "ramgru"
    """The layer of every block: ramgru, a peer's name, or module:Class of your own. Options follow
    after commas, as in attention,positions=rope: the layer's own options, those of the memory
    (ramgru,cells=1024,heads=key key:2), and those of this group (gru,d_model=32)."""
    d_model: int = 64
    """Width of the blocks."""
    num_layers: int = 2
    """Number of blocks."""
    mlp_ratio: float = 0.0
    """Width of the gated MLP in each block, as a multiple of d_model; 0: no MLP."""
    dropout: float = 0.0
    """Dropout rate after each layer while training."""
    hidden_size: int = 0
    """Width of a peer's layer, as its own help says; 0: d_model, or the peer's own choice."""
    parameters: int = 0
    """Choose the hidden_size of a peer's layer so that the model has about this many parameters;
    0: use hidden_size."""
    state_bytes: int = 0
    """Choose the largest hidden_size of a peer's layer, or the largest number of cells of a ramgru
    layer, whose recurrent state for one sequence fits into this many bytes; 0: use hidden_size or
    memory.cells."""
    controller: Literal["gru", "mingru", "diagonal"] = "gru"
    """Controller of a ramgru layer: gru, an exact nn.GRU; mingru, gates computed from the input
    alone (parallel over time); diagonal, a GRU with one recurrent weight a unit and gate."""
    memory: Memory = field(default_factory=Memory)
    """The memory of a ramgru layer."""

    def __post_init__(self) -> None:
        layers.check(self.layer)
        for name in ("d_model", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("mlp_ratio", "hidden_size", "parameters", "state_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if not math.isfinite(self.mlp_ratio):
            raise ValueError(f"mlp_ratio must be a finite number, got {self.mlp_ratio}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.parameters and self.state_bytes:
            raise ValueError(
                f"give parameters or state_bytes, not both, got {self.parameters} and "
                f"{self.state_bytes}"
            )
        if self.name == "ramgru" and (self.parameters or self.hidden_size):
            given = "parameters" if self.parameters else "hidden_size"
            raise ValueError(
                f"{given} sets the width of a peer's layer, got {given}={getattr(self, given)} "
                "with layer='ramgru'; the width of a ramgru layer is d_model"
            )

    @property
    def name(self) -> str:
        """The layer's name without options."""
        return layers.check(self.layer)[0]

    def resolved(self) -> tuple[ModelConfig, dict[str, str]]:
        """The same network with the options of `layer` moved into their fields, and the options
        that remain: a peer's own. Raises ValueError if an option does not fit."""
        name, options = layers.check(self.layer)
        network = _take(options, ModelConfig, without=("layer", "memory"))
        memory = self.memory
        if name == "ramgru":
            memory = replace(memory, **_take(options, Memory))
            if options:
                known = {f.name for f in (*fields(ModelConfig), *fields(Memory))}
                raise ValueError(
                    f"layer ramgru has no option {next(iter(options))!r}"
                    f"{nearest(next(iter(options)), known - {'layer', 'memory'})}"
                )
        return replace(self, layer=name, memory=memory, **network), options


def _take(
    options: dict[str, str], kind: type[Any], without: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Remove the fields of `kind` from `options`; returns them as values of their types."""
    hints = {"heads": str} | {k: v for k, v in get_type_hints(kind).items() if k != "heads"}
    return {
        f.name: parse(f"option {f.name}", options.pop(f.name), hints[f.name])
        for f in fields(kind)
        if f.name in options and f.name not in without
    }


def build_model(config: ModelConfig, task: Task) -> SequenceModel:
    """A freshly initialised model for `task`; the same bits after the same `torch.manual_seed`.

    Raises ValueError if the options do not fit together, RamgruError if your own layer cannot be
    imported.
    """
    config, options = config.resolved()
    config = _sized(config, options, task)
    sizes: dict[str, Any] = {
        "d_model": config.d_model,
        "num_layers": config.num_layers,
        "mlp_ratio": config.mlp_ratio,
        "dropout": config.dropout,
        "vocab_size": task.vocab_size,
    }
    if not task.vocab_size:
        sizes |= {"features": task.features, "outputs": task.outputs}
    if config.layer == "ramgru":
        return RAMGRUModel(
            nhead=len(config.memory.heads),
            memory_size=config.memory.cells,
            memory=config.memory,
            controller=config.controller,
            **sizes,
        )
    return SequenceModel(layers.builder(config.layer, options, config.hidden_size), **sizes)


def count_parameters(model: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def state_bytes(model: SequenceModel, steps: int) -> int:
    """Bytes of the recurrent state of one sequence after this many steps."""
    return FLOAT * (model.state_size + steps * model.state_growth)


def _sized(config: ModelConfig, options: dict[str, str], task: Task) -> ModelConfig:
    """The network with its hidden_size or memory.cells chosen by `parameters` or `state_bytes`.

    options: of the layer. Your own layer stays unchanged if it takes no hidden_size.
    Raises ValueError if even the smallest size is too large.
    """
    ramgru, wanted = config.layer == "ramgru", config.parameters or config.state_bytes
    exact = replace(config, parameters=0, state_bytes=0)
    if not wanted or not (ramgru or layers.takes_width(config.layer)):
        return exact

    def with_size(network: ModelConfig, size: int) -> ModelConfig:
        if ramgru:
            return replace(network, memory=replace(network.memory, cells=size))
        return replace(network, hidden_size=size)

    def model(size: int) -> SequenceModel:
        with torch.device("meta"):
            named = replace(exact, layer=joined(config.layer, options))
            return build_model(with_size(named, size), task)

    # A growing state is measured at the length of training sequences.
    steps = int(task.draw(16, seed=0).lengths.max()) if config.state_bytes else 0

    def count(size: int) -> int:
        built = model(size)
        return count_parameters(built) if config.parameters else state_bytes(built, steps)

    least = 1
    if ramgru:  # powers of two: not every number of cells can be addressed
        least = size = 1 << (max(config.memory.writes, config.memory.reads, 2) - 1).bit_length()
        while size < LARGEST and count(2 * size) <= wanted:
            size *= 2
    elif config.parameters:
        size = _first(count, wanted)
        size = min((max(1, size - 1), size), key=lambda size: abs(count(size) - wanted))
    else:
        size = max(1, _first(count, wanted + 1) - 1)
    if count(least) > wanted:
        name = "parameters" if config.parameters else "state_bytes"
        raise ValueError(
            f"{name} must be at least {count(least)} for layer={config.layer!r} with "
            f"d_model={config.d_model}, num_layers={config.num_layers} on {task.name}, got {wanted}"
        )
    return with_size(exact, size)


def _first(count: Callable[[int], int], wanted: int) -> int:
    """The smallest size whose count is at least `wanted`; the count grows with the size."""
    high = 1
    while high < LARGEST and count(high) < wanted:
        high *= 2
    return bisect_left(range(high), wanted, lo=max(1, high // 2), key=count)
