"""Bits a state bit: what a trained model recalls, for the state that it carries."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch

from ramgru.errors import RamgruError
from ramgru.lab.evaluate.meters.information import recalled_bits
from ramgru.lab.evaluate.sweep import Effort, Row, measure_at
from ramgru.lab.tasks import Task
from ramgru.sequence import SequenceModel

PAIRS = "pairs"  # the axis of the tasks in which every pair of a sequence is a value to recall


@dataclass(frozen=True)
class Recalled:
    """One size. score: the share of right answers, bits: recalled of all pairs of a sequence,
    state_bits: that it carries at its end, at 32 a float, used or not."""

    axes: dict[str, int]
    score: float
    bits: float
    state_bits: int

    @property
    def bits_per_state_bit(self) -> float:
        return self.bits / self.state_bits


def recall(
    model: SequenceModel,
    task: Task,
    effort: Effort,
    *,
    device: torch.device | str = "cpu",
    on_row: Callable[[Row], None] = lambda row: None,
) -> list[Recalled]:
    """Measure `model` at every size of the task's grid that has pairs.

    Raises RamgruError where no size has any, or `effort` leaves none.
    """
    sizes = [point for point in task.grid() if PAIRS in point.axes and effort.allows(point)]
    if not sizes:
        raise RamgruError(
            f"recalled bits are counted in pairs, and no size of {task.name} that may be asked has "
            "any: expected a run of a task such as mqar, and a max_length that leaves sizes"
        )
    # One by one: each size has the state that its own length takes, which may grow.
    found = [measure_at(model, [size], effort, device=device, on_row=on_row) for size in sizes]
    return [recalled(one.rows[0], one.state_bytes) for one in found]


def recalled(row: Row, state_bytes: int) -> Recalled:
    """The bits of one row of an evaluation, whose values are as many as chance tells."""
    bits = recalled_bits(row.axes[PAIRS], row.score, 1 / row.chance)
    return Recalled(dict(row.axes), row.score, bits, 8 * state_bytes)
