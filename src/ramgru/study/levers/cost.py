"""What a configuration costs a step: time and bytes, measured on a trained model.

Times are of this process with the threads that torch has here; one at a time is what compares.
"""

from __future__ import annotations

import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ramgru.memory import MemoryState
from ramgru.models import SequenceModel
from ramgru.tasks import Task
from ramgru.tasks.base import Batch
from ramgru.train.data import chunks
from ramgru.train.objective import Objective

STEPS = 300  # streaming steps that are timed, after a third as many that are not
FLOAT = 4  # bytes


@dataclass(frozen=True)
class Cost:
    """step_us:        microseconds of one streaming step of one sequence, the median of many
    train_us:       microseconds of a train step a token; None where the run was too short
    touched_bytes:  bytes of cells that one step reads or writes (`touched_bytes`)
    backward_bytes: bytes that a train step keeps for backward, a token
    written:        different cells that one sequence writes, all layers and heads, size by size
    cell_floats:    floats of a cell
    """

    step_us: float
    train_us: float | None
    touched_bytes: int
    backward_bytes: float
    written: list[int]
    cell_floats: int


def measure(
    model: SequenceModel, batch: Batch, sizes: Sequence[Task], events: Sequence[Mapping[str, Any]]
) -> Cost:
    """The cost of a trained RAM-GRU model.

    batch: as it was trained on. sizes: at which `written` is counted. events: of the run's log.
    """
    return Cost(
        step_us=step_us(model, batch),
        train_us=train_us(events, int(batch.lengths.sum())),
        touched_bytes=touched_bytes(model),
        backward_bytes=backward_bytes(model, batch) / int(batch.lengths.sum()),
        written=[cells_written(model, size.draw(1, seed=0)) for size in sizes],
        cell_floats=model.layers[0].head_size,
    )


@torch.inference_mode()
def step_us(model: SequenceModel, batch: Batch, steps: int = STEPS) -> float:
    """Median microseconds of `model.step` at batch 1, on tokens of the task."""
    tokens = torch.from_numpy(batch.inputs[:1]).to(_device(model))
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


def touched_bytes(model: SequenceModel) -> int:
    """Bytes of cells that one step moves: 4 · D · 3K a head and layer.

    Each of the K cells written (of D floats) is read and written back, each of the K cells read is
    read. The number of cells N is not in it.
    """
    return sum(
        FLOAT * layer.head_size * 3 * layer.top_k * len(layer.memories) * layer.num_heads
        for layer in model.layers
    )


def backward_bytes(model: SequenceModel, batch: Batch) -> int:
    """Bytes that a forward pass keeps for backward, but for parameters and buffers.

    What autograd saves, each storage once: the part of a train step's memory that grows with the
    tokens. The optimizer's state and working memory are not in it.
    """
    fixed = (*model.parameters(), *model.buffers())
    known = {tensor.untyped_storage().data_ptr() for tensor in fixed}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    (whole,) = chunks(batch, 0, _device(model))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        # The graph has to live until all is counted: an address that was freed comes back.
        alive = Objective(model)(
            whole.inputs, whole.where, whole.answers, whole.lengths, carry=False
        )
    del alive
    return sum(kept.values())


@torch.inference_mode()
def cells_written(model: SequenceModel, batch: Batch) -> int:
    """Different cells that one sequence writes, all layers and heads together."""
    _, state = model.hidden(torch.from_numpy(batch.inputs).to(_device(model)))
    return sum(_written(memory) for entry in state for memory in entry.memory)


def _written(memory: MemoryState) -> int:
    if memory.is_dense:  # small tables are kept whole: what was written is no longer fresh
        return int((memory.rows != memory.fresh_rows()).any(-1).sum())
    return int((memory.cells >= 0).sum())


def _device(model: SequenceModel) -> torch.device:
    return next(model.parameters()).device
