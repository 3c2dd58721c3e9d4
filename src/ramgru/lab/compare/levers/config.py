"""What a study of the levers is: which levers, on which task, with which runs. All defaults."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from ramgru.lab import tasks
from ramgru.lab.compare.config import sized
from ramgru.lab.compare.levers.points import LEVERS, Point, points_of
from ramgru.lab.compare.runs import run_name
from ramgru.lab.evaluate import Effort
from ramgru.lab.show.machine import cpu_count
from ramgru.lab.tasks.base import Task
from ramgru.lab.train.build import ModelConfig
from ramgru.lab.train.config import TrainConfig

LeverName = Literal["gates", "cells", "structure"]


def _default_task() -> Task:
    return sized("mqar")


@dataclass(frozen=True)
class StudyConfig:
    """Pull the levers of memory efficiency one by one, and report what each of them gives."""

    task: Task = field(default_factory=_default_task)
    """What is learnt, with its sizes; it is tested far beyond them."""
    levers: tuple[LeverName, ...] = ("gates", "cells", "structure")
    """gates: start and kind of the update gate; cells: how many there are, 2^4 to 2^20, at the
    same cost of a step; structure: write rule, top k, heads, controller, addresses."""
    full: bool = False
    """Try all combinations of the levers too, not only one at a time around the default."""
    model: ModelConfig = field(default_factory=ModelConfig)
    """The default's network; a point of a lever changes some of --model.ram."""

    steps: int = 400
    """Optimizer steps of each run."""
    batch_size: int = 64
    """Sequences a step."""
    lr: float = 3e-3
    """Learning rate at its highest, the same for all points."""
    curriculum: bool = True
    """Begin with the easier sizes of the task, where it has any."""
    seeds: tuple[int, ...] = (0, 1, 2)
    """Seeds of weights and data, a run each; the intervals are over seeds."""

    effort: Effort = field(default_factory=Effort)
    """How much each model is asked at each size."""
    threads: int = 1
    """CPU threads of a run."""
    jobs: int = 0
    """Runs at a time; 0: as many as there are processors for their threads."""
    device: str = "auto"
    """auto (CUDA where there is one, else CPU), cpu, or cuda."""
    storage: str | None = None
    """Optuna's storage as a URL of SQLAlchemy, where machines share the runs of equal options;
    None: a SQLite file in the study's directory."""
    out: Path | None = None
    """Directory of the runs and the report; None: runs/study-TASK. Each machine has its own."""

    def __post_init__(self) -> None:
        if isinstance(self.task, str):
            object.__setattr__(self, "task", sized(self.task))
        for name in ("levers", "seeds"):
            values = getattr(self, name)
            if not values:
                raise ValueError(f"{name} must hold at least one entry, got none")
            if len(set(values)) != len(values):
                raise ValueError(f"{name} must not hold an entry twice, got {values}")
        for lever in self.levers:
            if lever not in LEVERS:
                raise ValueError(f"levers must be among {', '.join(LEVERS)}, got {lever!r}")
        if min(self.seeds) < 0:
            raise ValueError(f"seeds must not be negative, got {self.seeds}")
        for name in ("steps", "batch_size", "threads"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.jobs < 0:
            raise ValueError(f"jobs must not be negative, got {self.jobs}")
        if not self.lr > 0:
            raise ValueError(f"lr must be positive, got {self.lr}")
        if self.model.name != "ramgru":
            raise ValueError(
                f"model describes the RAM-GRU, whose levers these are, got layer "
                f"{self.model.layer!r}"
            )

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.out if self.out is not None else Path("runs", f"study-{self.task.name}")

    @property
    def at_a_time(self) -> int:
        """How many runs go on side by side."""
        return self.jobs or max(1, cpu_count() // self.threads)

    def points(self) -> dict[str, list[Point]]:
        """{lever: its points}; the default is one of each."""
        return points_of(self.levers, self.model, full=self.full)

    def training(self, point: Point, seed: int) -> TrainConfig:
        """One run: points differ in options of the layer, and in nothing else."""
        return TrainConfig(
            task=self.task,
            model=point.model(self.model),
            lr=self.lr,
            batch_size=self.batch_size,
            steps=self.steps,
            curriculum=self.curriculum,
            seed=seed,
            threads=self.threads,
            device=self.device,
        )

    def runs(self) -> dict[str, tuple[Point, int]]:
        """{run name: point and seed}, every run once: first all points with the first seed."""
        found: dict[str, tuple[Point, int]] = {}
        for seed in self.seeds:
            for points in self.points().values():
                for point in points:
                    name = run_name(self.training(point, seed), self.effort)
                    found.setdefault(name, (point, seed))
        return found

    def as_dict(self) -> dict[str, Any]:
        """As JSON values; without the storage, which may hold a password."""
        values = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        del values["storage"]
        values["task"] = tasks.to_config(self.task)
        values["model"] = dataclasses.asdict(self.model)
        values["effort"] = dataclasses.asdict(self.effort)
        values["out"] = str(self.folder)
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}
