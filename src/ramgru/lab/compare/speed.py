"""How long a step of a trained model takes: of a stream, and of training.

Times are of this process with the threads that torch has here; one at a time is what compares.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ramgru.lab.tasks.base import Batch
from ramgru.sequence import SequenceModel

STEPS = 300  # streaming steps that are timed, after a third as many that are not


@torch.inference_mode()
def step_us(model: SequenceModel, batch: Batch, steps: int = STEPS) -> float:
    """Median microseconds of `model.step` at batch 1, on tokens of the task."""
    tokens = torch.from_numpy(batch.inputs[:1]).to(next(model.parameters()).device)
    state, times = model.initial_state(1), []
    for number in range(steps + steps // 3):
        token = tokens[:, number % tokens.shape[1]]
        before = time.perf_counter()
        _, state = model.step(token, state)
        times.append(time.perf_counter() - before)
    return 1e6 * statistics.median(times[steps // 3 :])


def train_us(events: Sequence[Mapping[str, Any]], tokens: int) -> float | None:
    """Microseconds a token of the steps in the second half of a run's log.

    By then a curriculum is through, so that every step has the same number of tokens. Of each two
    lines of steps that follow each other, with no evaluation between them; their median.
    """
    last = max((event["step"] for event in events if "step" in event), default=0)
    each = [
        (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
        for before, after in itertools.pairwise(events)
        if before["event"] == after["event"] == "step" and 2 * before["step"] >= last
    ]
    return 1e6 * statistics.median(each) / tokens if each else None
