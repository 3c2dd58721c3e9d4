"""What a configuration costs a step: time and bytes, measured on a trained model.

Times are of this process with the threads that torch has here; one at a time is what compares.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ramgru.lab.compare.speed import step_us, train_us
from ramgru.lab.tasks import Task
from ramgru.lab.tasks.base import Batch
from ramgru.lab.train.data import chunks
from ramgru.lab.train.measure import Objective
from ramgru.memory import MemoryState
from ramgru.sequence import SequenceModel

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
