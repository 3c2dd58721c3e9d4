"""The rules of a run: the learning-rate schedule, the curriculum, and when to stop."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from types import FrameType
from typing import Any, Literal

from ramgru.lab.tasks.base import Task
from ramgru.lab.train.config import TrainConfig


def learning_rate(config: TrainConfig, step: int) -> float:
    """The learning rate of optimizer step `step`, counted from 0.

    The rate rises linearly over `warmup` steps. After the warm-up it is constant, or decays to zero
    along a cosine or a line.
    """
    if step < config.warmup:
        return config.lr * (step + 1) / config.warmup
    if config.schedule == "constant":
        return config.lr
    done = min(1.0, (step - config.warmup) / max(1, config.total_steps - config.warmup))
    if config.schedule == "cosine":
        return config.lr * 0.5 * (1 + math.cos(math.pi * done))
    return config.lr * (1 - done)


def write_cost(config: TrainConfig, step: int) -> float:
    """The weight of the auxiliary loss on open gates at optimizer step `step`, counted from 0. It
    rises linearly: a gate that shuts before its cells are read never learns to open."""
    return config.write_cost * min(1.0, step / config.total_steps)


class Curriculum:
    """The stages of a task, from easy to hard; the last stage is the task itself.

    A stage ends when its own held-out metric reaches `target` or when its share of the steps is
    used up: the stages before the last share `budget` steps equally.
    """

    def __init__(self, stages: Sequence[Task], target: float, budget: int) -> None:
        sizes = {(stage.vocab_size, stage.features, stage.outputs) for stage in stages}
        if len(sizes) != 1:
            raise ValueError(
                "stages must agree in vocab_size, features and outputs, "
                f"got {sorted(sizes)} from {stages[-1].name}.curriculum()"
            )
        self.stages = tuple(stages)
        self.target = target
        self.share = budget // max(1, len(self.stages) - 1)
        self.stage = 0
        self.entered = 0  # the step at which the current stage began

    @property
    def task(self) -> Task:
        return self.stages[self.stage]

    @property
    def last(self) -> bool:
        return self.stage == len(self.stages) - 1

    def update(self, step: int, score: float) -> bool:
        """Enter the next stage if the current stage has ended; returns True if it has."""
        if self.last or (score < self.target and step - self.entered < self.share):
            return False
        self.stage, self.entered = self.stage + 1, step
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.stage, "entered": self.entered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stage = min(int(state["stage"]), len(self.stages) - 1)
        self.entered = int(state["entered"])


@dataclass
class StopRule:
    """Early stopping: at a target, or after `patience` evaluations without progress.

    Progress is a better metric or a lower loss. The loss counts because it often falls while the
    metric is still on a plateau.
    """

    target: float | None
    patience: int
    best_score: float = -math.inf
    best_loss: float = math.inf
    stale: int = 0

    def update(self, score: float, loss: float, *, patient: bool = False) -> None:
        """Record one evaluation. patient: do not count this evaluation against `patience`."""
        better = score > self.best_score or loss < self.best_loss
        self.best_score = max(self.best_score, score)
        self.best_loss = min(self.best_loss, loss)
        self.stale = 0 if better or patient else self.stale + 1

    @property
    def reason(self) -> Literal["target", "patience"] | None:
        """The reason to stop now; None to go on."""
        if self.target is not None and self.best_score >= self.target:
            return "target"
        if self.patience and self.stale >= self.patience:
            return "patience"
        return None

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("best_score", "best_loss", "stale")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.best_score, self.best_loss = float(state["best_score"]), float(state["best_loss"])
        self.stale = int(state["stale"])


class Interruption:
    """Within `with Interruption() as interruption`, the first SIGINT or SIGTERM only sets
    `interruption.signal`, so that the training loop can finish its step and save.

    The second signal has its usual effect, in case a step never ends.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Interruption:
        # Python allows signal handlers in the main thread only.
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._previous[number] = signal.signal(number, self._record)
        return self

    def _record(self, number: int, frame: FrameType | None) -> None:
        self.signal = number
        self.__exit__()

    def __exit__(self, *error: object) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}
