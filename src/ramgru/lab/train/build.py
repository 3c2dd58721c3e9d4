"""From a description to a network: which layer, how wide, how deep, for which task.

Every field is plain data, so that a configuration file is enough to build the model again.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, Literal, get_type_hints

from ramgru.lab.spec import nearest, parse
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers, matching
from ramgru.lab.train.layers import LAYERS
from ramgru.lab.train.matching import count_parameters
from ramgru.model import RAMGRUModel
from ramgru.sequence import SequenceModel

__all__ = ["LAYERS", "ModelConfig", "RAMOptions", "build_model", "count_parameters"]


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
    tape_heads: int = 0
    """Of the nhead heads, how many move along the cells step by step instead of looking for a key:
    they copy, and turn round, what was read in order."""
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
class ModelConfig:
    """A stack of residual blocks around one kind of sequence layer."""

    layer: str = "ramgru"
    """The layer of every block: ramgru, a peer's name, or module:Class of your own. Options follow
    behind commas, as in attention,positions=rope: the layer's own, or any of these here."""
    d_model: int = 64
    """Channels between the blocks."""
    num_layers: int = 2
    """Blocks."""
    mlp_ratio: float = 0.0
    """Width of the gated MLP of a block, in d_model; 0: no MLP."""
    dropout: float = 0.0
    """Share of the channels dropped after each layer while training."""
    hidden_size: int = 0
    """Width of a peer's layer, as its own help puts it; 0: d_model, or the peer's own choice."""
    parameters: int = 0
    """Choose the hidden_size of a peer's layer so that the model has about this many parameters;
    0: as hidden_size says."""
    state_bytes: int = 0
    """Choose the hidden_size of a peer's layer, or the memory_size of a ramgru layer, as large as
    the recurrent state of one sequence stays within so many bytes; 0: as they say."""
    ram: RAMOptions = field(default_factory=RAMOptions)
    """Options of the ramgru layer."""

    def __post_init__(self) -> None:
        layers.check(self.layer)
        for name in ("d_model", "num_layers"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("mlp_ratio", "hidden_size", "parameters", "state_bytes"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        for name, value in (("mlp_ratio", self.mlp_ratio), ("gate_bias", self.ram.gate_bias)):
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}")
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
                f"{given} sets the width of a peer's layer, got it with layer='ramgru'; "
                "a ramgru layer's width is d_model"
            )

    @property
    def name(self) -> str:
        """The layer's name, without its options."""
        return layers.check(self.layer)[0]

    def resolved(self) -> tuple[ModelConfig, dict[str, str]]:
        """The same network with the options of `layer` at their place, and those that are left:
        a peer's own. Raises ValueError where one does not fit."""
        name, options = layers.check(self.layer)
        mine, ram = _taken(options, ModelConfig), {}
        if name == "ramgru":
            ram = _taken(options, RAMOptions)
            if options:
                known = {f.name for f in (*fields(ModelConfig), *fields(RAMOptions))}
                raise ValueError(
                    f"layer ramgru has no option {next(iter(options))!r}"
                    f"{nearest(next(iter(options)), known - {'layer', 'ram'})}"
                )
        return replace(self, layer=name, ram=replace(self.ram, **ram), **mine), options


def _taken(options: dict[str, str], kind: type) -> dict[str, Any]:
    """Those options that are fields of `kind`, as values of their type; taken out of `options`."""
    hints = get_type_hints(kind)
    return {
        name: parse(f"option {name}", options.pop(name), hints[name])
        for name in list(options)
        if name in hints and name not in ("layer", "ram")
    }


def build_model(config: ModelConfig, task: Task) -> SequenceModel:
    """A freshly initialised model for `task`; the same bits after the same `torch.manual_seed`.

    Raises ValueError where the options do not fit together, RamgruError where an own layer cannot
    be imported.
    """
    config, options = config.resolved()
    config = matching.sized(config, options, task, lambda sized: build_model(sized, task))
    common: dict[str, Any] = {
        "num_layers": config.num_layers,
        "mlp_ratio": config.mlp_ratio,
        "dropout": config.dropout,
        **_interface(task),
    }
    if config.layer == "ramgru":
        return RAMGRUModel(d_model=config.d_model, **common, **asdict(config.ram))
    builder = layers.peer(config.layer, options).builder(config.hidden_size)
    return SequenceModel(builder, config.d_model, **common)


def _interface(task: Task) -> dict[str, int]:
    if task.vocab_size:
        return {"vocab_size": task.vocab_size}
    return {"vocab_size": 0, "features": task.features, "outputs": task.outputs}
