"""From a description to a network: which layer, how wide, how deep, for which task.

Every field is plain data, so that a configuration file is enough to build the model again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

import torch
from torch import nn

from ramgru.baselines import GRU, Attention, GatedDeltaNet, MinGRU
from ramgru.models import SequenceModel
from ramgru.tasks.base import Task

LAYERS = ("ramgru", "gru", "mingru", "attention", "gated_deltanet")


@dataclass(frozen=True)
class RAMOptions:
    """Options of the RAMGRU layer; handed to `RAMGRUModel` by these names."""

    nhead: int = 4
    """Heads, each with a memory of its own."""
    memory_size: int = 65_536
    """Cells of a head's memory; the cost of a step does not depend on it."""
    top_k: int = 4
    """Cells that one step may change, and that it reads."""
    write_rule: Literal["gru", "delta"] = "gru"
    """How the addressed cells take the candidate: each by its gate, or one shared correction."""
    controller: Literal["gru", "mingru"] = "mingru"
    """What drives the memory: an exact nn.GRU, or gates from the input alone (parallel in time)."""
    candidate_activation: Literal["identity", "tanh"] = "identity"
    """What a candidate goes through before it is written."""
    gate: Literal["scalar", "cell"] = "scalar"
    """One update gate a head, or one for each of its top_k cells."""
    gate_range: tuple[float, float] = (0.0, 1.0)
    """Between these a gate moves, cut to [0, 1]; from -0.1 to 1.1 it can reach both ends."""
    gate_bias: float = 1.0
    """Start of the update gate's bias: sigmoid(1) = 0.73 of a cell is written at first."""
    head_size: int | None = None
    """Width of a cell; None: d_model / nhead, rounded up."""
    parts: int | None = None
    """Codebooks of an address; None: as few as keep every codebook at 64 codes or less."""
    address_size: int = 16
    """Width of a code."""
    offsets: tuple[int, ...] = (1,)
    """How many steps before its own the key of a write lies, head by head, repeated if need be."""
    skips: tuple[int, ...] = (0,)
    """How many steps before its own a key ends, head by head."""
    spans: tuple[int, ...] = (1,)
    """How many steps a key is long, head by head."""
    window: int | None = None
    """Steps of the input that addresses may look at; None: as many as they need."""
    learn_address: bool = False
    """Train the hash from keys to cells, which is random otherwise."""
    learn_context: bool = False
    """Let keys learn what of the window they are made of."""
    learn_initial: bool = False
    """Learn what the cells hold before anything is written."""

    def __post_init__(self) -> None:
        for name in ("offsets", "skips", "spans", "gate_range"):  # lists, as JSON has them
            object.__setattr__(self, name, tuple(getattr(self, name)))


@dataclass(frozen=True)
class AttentionOptions:
    """Options of the attention layer; handed to `Attention` by these names."""

    heads: int = 1
    """Heads, which share the layer's width."""
    positions: Literal["none", "rope"] = "none"
    """How queries and keys know their place: by what the convolution before them sees alone, which
    holds farthest beyond the lengths trained on, or turned by it (RoPE)."""


@dataclass(frozen=True)
class GatedDeltaNetOptions:
    """Options of the gated_deltanet layer; handed to `GatedDeltaNet` by these names."""

    heads: int = 1
    """Heads, which share the layer's width, each with a memory of its own."""
    value_size: int | None = None
    """Width of a head's values; None: that of its keys. A memory is one by the other."""


@dataclass(frozen=True)
class ModelConfig:
    """A stack of residual blocks around one kind of sequence layer."""

    layer: Literal["ramgru", "gru", "mingru", "attention", "gated_deltanet"] = "ramgru"
    """The layer of every block."""
    d_model: int = 64
    """Channels between the blocks."""
    num_layers: int = 2
    """Blocks."""
    mlp_ratio: float = 0.0
    """Width of the gated MLP of a block, in d_model; 0: no MLP."""
    dropout: float = 0.0
    """Share of the channels dropped after each layer while training."""
    hidden_size: int = 0
    """Width of a peer's layer: of the state of a gru or mingru layer, of the keys of all heads of
    an attention or gated_deltanet layer; 0: d_model."""
    parameters: int = 0
    """Choose the hidden_size of a peer's layer so that the model has about this many parameters;
    0: as hidden_size says."""
    ram: RAMOptions = field(default_factory=RAMOptions)
    """Options of the ramgru layer."""
    attention: AttentionOptions = field(default_factory=AttentionOptions)
    """Options of the attention layer."""
    gated_deltanet: GatedDeltaNetOptions = field(default_factory=GatedDeltaNetOptions)
    """Options of the gated_deltanet layer."""

    def __post_init__(self) -> None:
        if self.layer not in LAYERS:
            raise ValueError(f"layer must be one of {', '.join(LAYERS)}, got {self.layer!r}")
        for name in ("d_model", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("mlp_ratio", "hidden_size", "parameters"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name, value in (("mlp_ratio", self.mlp_ratio), ("gate_bias", self.ram.gate_bias)):
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be in [0, 1), got {self.dropout}")
        if self.layer == "ramgru" and (self.parameters or self.hidden_size):
            given = "parameters" if self.parameters else "hidden_size"
            raise ValueError(
                f"{given} sets the width of a peer's layer, got it with layer='ramgru'; "
                "a ramgru layer's width is d_model"
            )


def build_model(config: ModelConfig, task: Task) -> SequenceModel:
    """A freshly initialised model for `task`; the same bits after the same `torch.manual_seed`.

    Raises ValueError where the options do not fit together.
    """
    if config.layer == "ramgru":
        return _build_ramgru(config, task)
    if config.parameters:
        config = replace(config, hidden_size=_matching_width(config, task), parameters=0)
    return SequenceModel(
        _peer_builder(config),
        config.d_model,
        config.num_layers,
        mlp_ratio=config.mlp_ratio,
        dropout=config.dropout,
        **_interface(task),
    )


def count_parameters(model: nn.Module) -> int:
    """Numbers that training adjusts."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def _interface(task: Task) -> dict[str, int]:
    if task.vocab_size:
        return {"vocab_size": task.vocab_size}
    return {"vocab_size": 0, "features": task.features, "outputs": task.outputs}


def _peer_builder(config: ModelConfig) -> Callable[[int], nn.Module]:
    peers: dict[str, tuple[Callable[..., nn.Module], dict[str, Any]]] = {
        "gru": (GRU, {}),
        "mingru": (MinGRU, {}),
        "attention": (Attention, asdict(config.attention)),
        "gated_deltanet": (GatedDeltaNet, asdict(config.gated_deltanet)),
    }
    peer, options = peers[config.layer]
    return lambda d_model: peer(d_model, config.hidden_size or None, **options)


def _build_ramgru(config: ModelConfig, task: Task) -> SequenceModel:
    from ramgru.models import RAMGRUModel

    return RAMGRUModel(
        d_model=config.d_model,
        num_layers=config.num_layers,
        mlp_ratio=config.mlp_ratio,
        dropout=config.dropout,
        **_interface(task),
        **asdict(config.ram),
    )


def _matching_width(config: ModelConfig, task: Task) -> int:
    """The hidden_size whose parameter count is nearest to `config.parameters`."""

    def count(width: int) -> int:
        with torch.device("meta"):
            return count_parameters(
                build_model(replace(config, hidden_size=width, parameters=0), task)
            )

    smallest = count(1)
    if smallest > config.parameters:
        raise ValueError(
            f"parameters must be at least {smallest} for layer={config.layer!r} with "
            f"d_model={config.d_model}, num_layers={config.num_layers} on {task.name}, "
            f"got {config.parameters}"
        )
    low, high = 1, 2
    while count(high) < config.parameters:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) < config.parameters else (low, middle)
    return min((low, high), key=lambda width: abs(count(width) - config.parameters))
