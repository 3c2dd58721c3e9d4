"""What a comparison is: which layers, on which tasks, under which budget. All defaults are here."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ramgru.lab import tasks
from ramgru.lab.compare import budget
from ramgru.lab.evaluate import Effort
from ramgru.lab.spec import joined, split
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.lab.train.build import ModelConfig, build_model, count_parameters
from ramgru.lab.train.config import TrainConfig

# Sizes that a task is trained on here, where they are not the task's own defaults.
SIZES: dict[str, dict[str, Any]] = {"mqar": {"pairs": 16, "length": 64}}


def sized(text: str, **options: Any) -> Task:
    """The task of this specification at the sizes of a comparison; options go before them.

    Raises ValueError or TypeError, as `tasks.get` does.
    """
    name, given = split(text)
    return tasks.get(name, **{**SIZES.get(name, {}), **given, **options})


def _default_task() -> Task:
    return sized("mqar")


@cache  # asked for each layer, rate and seed anew
def _parameters(model: ModelConfig, task: Task) -> int:
    return count_parameters(build_model(model, task))


@dataclass(frozen=True)
class CompareConfig:
    """Train layers beside each other with the same budget, and report how far each one holds."""

    task: Task = field(default_factory=_default_task)
    """What is learnt, with its sizes; it is tested far beyond them."""
    also: tuple[str, ...] = ()
    """Further tasks, each as TASK[,SIZE=VALUE…]."""
    layers: tuple[str, ...] = ("ramgru", "gru", "mingru")
    """Layers to compare: ramgru, a peer's name, or module:Class of your own, with options behind
    commas (attention,positions=rope or ramgru,memory_size=4096,d_model=32)."""
    widths: tuple[int, ...] = ()
    """Channels of the networks (d_model): every layer once in each; none given: as --model says."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The RAM-GRU's network; the peers get the same, but for the layer itself."""
    equal: Literal["parameters", "state", "nothing"] = "parameters"
    """What all layers have the same of: parameters (peers as many as the RAM-GRU, by the width of
    their layer), bytes of state (all of them --state-bytes), or nothing (peers as wide as the
    network)."""
    state_bytes: int = 16_384
    """Bytes of recurrent state at most, with --equal state; a growing one at the trained length."""

    steps: int = 800
    """Optimizer steps of each run at most."""
    seconds: float = 0.0
    """Give each run about this much time instead: steps are counted out from a short measurement
    before it begins; 0: as `steps` says."""
    tokens: int = 0
    """Let each run read about so many tokens instead; 0: as `steps` says."""
    batch_size: int = 64
    """Sequences a step."""
    lr: tuple[float, ...] = (3e-3,)
    """Learning rates, the same for all layers. Of several each layer gets its best one: they are
    tried on the first seed, and given up where they fall behind."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of weights and data; with several, the intervals are over seeds."""
    target: float | None = None
    """Stop a run when its held-out metric on the training sizes is this; None: never."""
    curriculum: bool = True
    """Begin with the easier sizes of the task, where it has any."""

    effort: Effort = field(default_factory=Effort)
    """How much each model is asked at each size."""
    threads: int = 0
    """CPU threads of a run; 0: torch's own choice, or 1 where several go side by side."""
    jobs: int = 1
    """Runs at a time."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""
    storage: str | None = None
    """Optuna's storage as a URL of SQLAlchemy, where machines share the runs; None: a SQLite file
    in the comparison's directory."""
    out: Path | None = None
    """Directory of the runs and the report; None: runs/compare-TASK. Runs in it that are finished
    and equal in every option are not trained again."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", sized(self.task))
        for name in ("layers", "seeds", "lr"):
            if not getattr(self, name):
                raise ValueError(f"{name} must hold at least one entry, got none")
        for name in ("also", "layers", "seeds", "lr", "widths"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must not hold an entry twice, got {values}")
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"tasks must not be of one name, got {', '.join(names)}")
        for layer in self.layers:
            layers.check(layer)
        if not all(rate > 0 for rate in self.lr):
            raise ValueError(f"lr must hold positive rates, got {self.lr}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must not be negative, got {self.seeds}")
        for name in ("steps", "batch_size", "jobs", "state_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("seconds", "tokens", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}")
        if self.seconds and self.tokens:
            raise ValueError(
                f"give seconds or tokens, not both, got {self.seconds} and {self.tokens}"
            )
        if self.model.layer != "ramgru":
            raise ValueError(
                f"model describes the RAM-GRU, got layer {self.model.layer!r}; "
                "`layers` says which layers are compared"
            )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks, in order."""
        return (self.task, *(sized(text) for text in self.also))

    @property
    def tunes(self) -> bool:
        """Whether something is to be found out of a layer before its runs: its rate, its steps."""
        return len(self.lr) > 1 or self.seconds > 0

    @property
    def contenders(self) -> tuple[str, ...]:
        """All layers in all widths, as specifications."""
        if not self.widths:
            return self.layers
        return tuple(
            joined(name, {**options, "d_model": width})
            for name, options in map(layers.check, self.layers)
            for width in self.widths
        )

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        name = self.task.name if not self.also else f"{len(self.tasks)}-tasks"
        return self.out if self.out is not None else Path("runs", f"compare-{name}")

    def model_of(self, layer: str, task: Task) -> ModelConfig:
        """A layer's network: as large as `equal` says."""
        name, options = layers.check(layer)
        model = dataclasses.replace(self.model, layer=layer)
        if self.equal == "state":
            return dataclasses.replace(model, state_bytes=self.state_bytes)
        if self.equal == "nothing" or name == "ramgru" or "hidden_size" in options:
            return model
        shared: dict[str, str] = {
            key: options[key] for key in ("d_model", "num_layers") if key in options
        }
        ours = dataclasses.replace(self.model, layer=joined("ramgru", shared))
        return dataclasses.replace(model, parameters=_parameters(ours, task))

    def training(self, task: Task, layer: str, lr: float, seed: int, steps: int) -> TrainConfig:
        """One run: layers differ in their model and their rate, and in nothing else."""
        config = TrainConfig(
            task=task,
            model=self.model_of(layer, task),
            lr=lr,
            batch_size=self.batch_size,
            target=self.target,
            curriculum=self.curriculum,
            seed=seed,
            threads=self.threads or int(self.jobs > 1),
            device=self.device,
        )
        if self.tokens:
            steps = budget.steps_of_tokens(config, self.tokens)
        return budget.with_steps(config, steps)

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; without the storage, which may hold a password."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["storage"]
        values["task"] = tasks.to_config(self.task)
        values["model"] = dataclasses.asdict(self.model)
        values["effort"] = dataclasses.asdict(self.effort)
        values["out"] = str(self.folder)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
