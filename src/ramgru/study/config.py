"""What a comparison is: which layers, on which task, under which budget. All defaults are here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ramgru import tasks
from ramgru.evaluate import Effort
from ramgru.tasks.base import Task
from ramgru.train.build import LAYERS, ModelConfig, build_model, count_parameters
from ramgru.train.config import TrainConfig

Layer = Literal["ramgru", "gru", "mingru", "attention", "gated_deltanet"]
RATES = tuple(f"{layer}_lr" for layer in LAYERS)  # the fields that hold them

# Sizes that a task is trained on here, where they are not the task's own defaults.
SIZES: dict[str, dict[str, Any]] = {"mqar": {"pairs": 16, "length": 64}}


def sized(name: str, **options: Any) -> Task:
    """The task of this name at the sizes of a comparison; options go before them."""
    return tasks.get(name, **{**SIZES.get(name, {}), **options})


def _default_task() -> Task:
    return sized("mqar")


@dataclass(frozen=True)
class CompareConfig:
    """Train layers beside each other with the same budget, and report how far each one holds."""

    task: Task = field(default_factory=_default_task)
    """What is learnt, with its sizes; it is tested far beyond them."""
    layers: tuple[Layer, ...] = ("ramgru", "gru", "mingru")
    """Layers to compare, in the order in which they are trained."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The RAM-GRU's network; the peers get the same, but for the layer itself."""
    equal_parameters: bool = True
    """Make the peers' layers so wide that all models have the same number of parameters."""

    steps: int = 800
    """Optimizer steps of each run at most."""
    seconds: float = 0.0
    """Give each run about this much time instead: steps are counted out from a short measurement
    before it begins; 0: as `steps` says."""
    batch_size: int = 64
    """Sequences a step."""
    ramgru_lr: tuple[float, ...] = (3e-3,)
    """Learning rates of the RAM-GRU; of several the best is taken, each having the whole budget."""
    gru_lr: tuple[float, ...] = (3e-3,)
    """Learning rates of nn.GRU, likewise."""
    mingru_lr: tuple[float, ...] = (3e-3,)
    """Learning rates of minGRU, likewise."""
    attention_lr: tuple[float, ...] = (3e-3,)
    """Learning rates of attention, likewise."""
    gated_deltanet_lr: tuple[float, ...] = (1e-2,)  # at 3e-3 it hardly begins in 500 steps
    """Learning rates of Gated DeltaNet, likewise."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of weights and data; with several, the intervals are over seeds."""
    target: float | None = None
    """Stop a run when its held-out metric on the training sizes is this; None: never."""
    curriculum: bool = True
    """Begin with the easier sizes of the task, where it has any."""

    effort: Effort = field(default_factory=Effort)
    """How much each model is asked at each size."""
    threads: int = 0
    """CPU threads of torch; 0: torch's own choice."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""
    out: Path | None = None
    """Directory of the runs and the report; None: runs/compare-TASK. Runs in it that are finished
    and equal in every option are not trained again."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", sized(self.task))
        for name in ("layers", "seeds", *RATES):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} must hold at least one entry, got none")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must not hold an entry twice, got {values}")
        for layer in self.layers:
            if layer not in LAYERS:
                raise ValueError(f"layers must be among {', '.join(LAYERS)}, got {layer!r}")
        for name in RATES:
            if not all(rate > 0 for rate in getattr(self, name)):
                raise ValueError(f"{name} must hold positive rates, got {getattr(self, name)}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must not be negative, got {self.seeds}")
        for name in ("steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.seconds < 0:
            raise ValueError(f"seconds must not be negative, got {self.seconds}")
        if self.model.layer != "ramgru":
            raise ValueError(
                f"model describes the RAM-GRU, got layer {self.model.layer!r}; "
                "`layers` says which layers are compared"
            )

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.out if self.out is not None else Path("runs", f"compare-{self.task.name}")

    def rates(self, layer: str) -> tuple[float, ...]:
        """The learning rates that a layer is tried with."""
        rates: tuple[float, ...] = getattr(self, f"{layer}_lr")
        return rates

    def model_of(self, layer: Layer) -> ModelConfig:
        """A layer's network: the RAM-GRU's own, or a peer's of as many parameters."""
        if layer == "ramgru":
            return self.model
        size = 0
        if self.equal_parameters:
            size = count_parameters(build_model(self.model, self.task))
        return dataclasses.replace(self.model, layer=layer, parameters=size)

    def training(self, layer: Layer, lr: float, seed: int, steps: int) -> TrainConfig:
        """One run: layers differ in their model and their rate, and in nothing else."""
        return TrainConfig(
            task=self.task,
            model=self.model_of(layer),
            lr=lr,
            batch_size=self.batch_size,
            steps=steps,
            target=self.target,
            curriculum=self.curriculum,
            seed=seed,
            threads=self.threads,
            device=self.device,
        )

    def as_dict(self) -> dict[str, Any]:
        """As JSON values."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        values["task"] = tasks.to_config(self.task)
        values["model"] = dataclasses.asdict(self.model)
        values["effort"] = dataclasses.asdict(self.effort)
        values["out"] = str(self.folder)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
