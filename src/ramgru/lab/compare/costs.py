"""The cost of a step of a trained model: time of streaming and of training, bytes of cells.

Times hold for this process and the number of threads that torch has here.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from ramgru.config import Lag, Tape
from ramgru.lab.tasks.base import Batch
from ramgru.layer import RAMGRU
from ramgru.sequence import SequenceModel

STEPS = 300  # streaming steps that are timed, after a warm-up of a third as many
FLOAT = 4  # bytes


def costs(
    model: SequenceModel, batch: Batch, events: Sequence[Mapping[str, Any]]
) -> dict[str, float | None]:
    """step_us, train_us and touched_bytes of a run's model. batch: as in training. events: its log.

    touched_bytes: of memory cells that one step reads or writes in ramgru layers; None without one
    """
    return {
        "step_us": step_us(model, batch),
        "train_us": train_us(events, int(batch.lengths.sum())),
        "touched_bytes": touched_bytes(model),
    }


@torch.inference_mode()
def step_us(model: SequenceModel, batch: Batch, steps: int = STEPS) -> float:
    """Median microseconds of `model.step` at batch size 1, on tokens of the task."""
    tokens = torch.from_numpy(batch.inputs[:1]).to(next(model.parameters()).device)
    state, times = model.initial_state(1), []
    for number in range(steps + steps // 3):
        token = tokens[:, number % tokens.shape[1]]
        before = time.perf_counter()
        _, state = model.step(token, state)
        times.append(time.perf_counter() - before)
    return 1e6 * statistics.median(times[steps // 3 :])


def train_us(events: Sequence[Mapping[str, Any]], tokens: int) -> float | None:
    """Median microseconds per token of the train steps in the second half of a run's log.

    The first half may be a curriculum, whose steps have fewer tokens. Each time is the difference
    of two lines of steps without an evaluation between them.
    """
    last = max((event["step"] for event in events if "step" in event), default=0)
    each = [
        (after["seconds"] - before["seconds"]) / (after["step"] - before["step"])
        for before, after in itertools.pairwise(events)
        if before["event"] == after["event"] == "step" and 2 * before["step"] >= last
    ]
    return 1e6 * statistics.median(each) / tokens if each else None


def touched_bytes(model: SequenceModel) -> int | None:
    """Bytes of cells that one step moves: 4 · (2 · written + read) a head and number of a cell, tag
    included, since a written cell is read and written back. The number of cells does not count."""
    layers = [layer for layer in model.layers if isinstance(layer, RAMGRU)]
    total = 0
    for layer in layers:
        for memory in layer.memories:
            cells = len(memory.memory.of_kind(Tape)) * (2 * 2 + 2)
            if "key" in memory.heads:
                keys = memory.heads["key"]
                cells += 2 * sum(keys.writes) + sum(keys.reads)
            if "lag" in memory.heads:
                cells += len(memory.memory.of_kind(Lag)) * (2 + memory.heads["lag"].reads)
            total += FLOAT * memory.row_width * cells
    return total if layers else None
