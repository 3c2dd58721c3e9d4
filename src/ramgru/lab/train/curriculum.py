"""From easy to hard: which size of the task is trained on now, and when the next one comes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ramgru.lab.tasks.base import Task


class Curriculum:
    """The stages of a task, the last of which is the task itself.

    A stage ends when its own held-out metric reaches `target`, or when it has had its share: the
    stages before the last share `budget` steps equally.
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
        """Go on to the next stage if this one is done at `step`; says whether it did."""
        if self.last or (score < self.target and step - self.entered < self.share):
            return False
        self.stage, self.entered = self.stage + 1, step
        return True

    def state_dict(self) -> dict[str, Any]:
        return {"stage": self.stage, "entered": self.entered}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.stage = min(int(state["stage"]), len(self.stages) - 1)
        self.entered = int(state["entered"])
