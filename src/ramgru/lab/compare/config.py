"""The configuration of a comparison: layers, tasks and budget."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ramgru.lab import tasks
from ramgru.lab.compare import budget, levers
from ramgru.lab.evaluate import Effort
from ramgru.lab.spec import joined, split
from ramgru.lab.tasks.base import Task
from ramgru.lab.train import layers
from ramgru.lab.train.build import ModelConfig, build_model, count_parameters
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.configfile import to_dict

# Training sizes that differ from the task's own defaults.
SIZES: dict[str, dict[str, Any]] = {"mqar": {"pairs": 16, "length": 64}}


def sized(text: str, **options: Any) -> Task:
    """The task of this specification at the training sizes of a comparison; options override them.

    Raises ValueError or TypeError, as `tasks.get` does.
    """
    name, given = split(text)
    return tasks.get(name, **{**SIZES.get(name, {}), **given, **options})


def _default_task() -> Task:
    return sized("mqar")


@cache  # called for each layer, rate and seed
def _parameters(model: ModelConfig, task: Task) -> int:
    return count_parameters(build_model(model, task))


@dataclass(frozen=True)
class CompareConfig:
    """Train layers with the same budget and report their scores at sizes far beyond training."""

    task: Task = field(default_factory=_default_task)
    """The task and its training sizes; the evaluation goes far beyond them."""
    also: tuple[str, ...] = ()
    """Further tasks, each as TASK[,SIZE=VALUE…]."""
    layers: tuple[str, ...] = ("ramgru", "gru", "mingru")
    """Layers to compare: ramgru, a peer's name, or module:Class of your own, with options after
    commas (attention,positions=rope or ramgru,cells=4096,d_model=32)."""
    levers: bool = False
    """Compare variants of the RAM-GRU instead of `layers`, one option changed at a time: the gates,
    the number of cells, the structure."""
    widths: tuple[int, ...] = ()
    """Widths of the networks (d_model); each layer is trained in each width. None given: the width
    of --model."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The network of the RAM-GRU; peers get the same network around another layer."""
    equal: Literal["parameters", "state", "nothing"] = "parameters"
    """The quantity that all layers share: the number of parameters (the width of a peer's layer is
    chosen to match the RAM-GRU), the bytes of state (at most --state-bytes each), or nothing (a
    peer's layer is as wide as the network)."""
    state_bytes: int = 16_384
    """Bytes of recurrent state at most, with --equal state; a growing state is measured at the
    training length."""

    steps: int = 800
    """Optimizer steps of a run at most."""
    seconds: float = 0.0
    """Training time of a run, instead of `steps`: a short measurement before the run converts it
    into steps; 0: use `steps`."""
    tokens: int = 0
    """Tokens that a run trains on, instead of `steps`; 0: use `steps`."""
    batch_size: int = 64
    """Sequences in a batch."""
    lr: tuple[float, ...] = (3e-3,)
    """Learning rates. With several, each layer is tuned on the first seed and gets its best rate;
    rates that fall behind are pruned."""
    seeds: tuple[int, ...] = (0,)
    """Seeds of weights and data; with several, intervals are over seeds."""
    target: float | None = None
    """Stop a run when its held-out metric reaches this; None: never."""
    curriculum: bool = True
    """Begin with easier sizes, if the task has a curriculum."""

    effort: Effort = field(default_factory=Effort)
    """How many questions each model is asked at each size."""
    threads: int = 0
    """CPU threads of a run; 0: torch's own choice, or 1 with several jobs."""
    jobs: int = 1
    """Worker processes, each with one run at a time."""
    device: str = "auto"
    """auto (CUDA if available, else CPU), cpu, or cuda."""
    storage: str | None = None
    """URL of an Optuna storage (SQLAlchemy) through which several machines share the runs; None: a
    SQLite file in the comparison's directory."""
    out: Path | None = None
    """Directory of the runs and the report; None: runs/compare-TASK. Finished runs in it with equal
    options are reused."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", sized(self.task))
        for name in ("layers", "seeds", "lr"):
            if not getattr(self, name):
                raise ValueError(f"{name}: expected at least one entry, got none")
        for name in ("also", "layers", "seeds", "lr", "widths"):
            values = getattr(self, name)
            if len(set(values)) != len(values):
                raise ValueError(f"{name}: expected different entries, got {values}")
        names = [task.name for task in self.tasks]
        if len(set(names)) != len(names):
            raise ValueError(f"tasks: expected different names, got {', '.join(names)}")
        for layer in self.layers:
            layers.check(layer)
        if not all(rate > 0 for rate in self.lr):
            raise ValueError(f"lr: expected positive rates, got {self.lr}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds: expected at least 0, got {self.seeds}")
        for name in ("steps", "batch_size", "jobs", "state_bytes"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}: expected at least 1, got {getattr(self, name)}")
        for name in ("seconds", "tokens", "threads"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name}: expected at least 0, got {getattr(self, name)}")
        if self.seconds and self.tokens:
            raise ValueError(
                f"expected seconds or tokens, got both: {self.seconds} and {self.tokens}"
            )
        if self.model.layer != "ramgru":
            raise ValueError(
                f"model.layer: expected 'ramgru', got {self.model.layer!r}; `layers` lists the "
                "layers to compare"
            )

    @property
    def tasks(self) -> tuple[Task, ...]:
        """All tasks in order."""
        return (self.task, *(sized(text) for text in self.also))

    @property
    def tunes(self) -> bool:
        """Whether a layer's learning rate or number of steps is determined before its runs."""
        return len(self.lr) > 1 or self.seconds > 0

    @property
    def groups(self) -> dict[str, list[str]]:
        """With `levers`, {lever: its layers in all widths}; otherwise nothing."""
        if not self.levers:
            return {}
        return {k: self._in_widths(v) for k, v in levers.contenders(self.model).items()}

    @property
    def contenders(self) -> tuple[str, ...]:
        """All layers in all widths, as specifications."""
        if not self.levers:
            return tuple(self._in_widths(self.layers))
        return tuple(dict.fromkeys(layer for of in self.groups.values() for layer in of))

    def _in_widths(self, named: Sequence[str]) -> list[str]:
        if not self.widths:
            return list(named)
        return [
            joined(name, {**options, "d_model": width})
            for name, options in map(layers.check, named)
            for width in self.widths
        ]

    @property
    def folder(self) -> Path:
        """The directory of the comparison."""
        name = self.task.name if not self.also else f"{len(self.tasks)}-tasks"
        name += "-levers" if self.levers else ""
        return self.out if self.out is not None else Path("runs", f"compare-{name}")

    def model_of(self, layer: str, task: Task) -> ModelConfig:
        """The network of a layer, sized as `equal` asks."""
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
        """One run: layers differ in their model and their learning rate alone."""
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
        """JSON values, without the storage, whose URL may hold a password."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["storage"]
        values["task"] = tasks.to_config(self.task)
        values["model"] = to_dict(TrainConfig(task=self.task, model=self.model))["model"]
        values["effort"] = dataclasses.asdict(self.effort)
        values["out"] = str(self.folder)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
