"""Training batches by step number: a batch depends on (seed, step, rank) alone.

Therefore the data position of a run is its step, and each process draws its own data.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ramgru.lab.tasks import Batch, FileTask, Task, is_asked
from ramgru.lab.train.config import TrainConfig

HELD_OUT = 1 << 31  # this bit is set in the seeds of held-out data, never in those of training


def training_seed(seed: int, step: int, rank: int) -> int:
    """Seed of the batch that process `rank` trains on in optimizer step `step`; below 2³¹."""
    return _mix(seed, step, rank)


def held_out_seed(seed: int, index: int) -> int:
    """Seed of held-out batch `index`; at least 2³¹, so no training batch can have it."""
    return _mix(seed, index) | HELD_OUT


def _mix(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) & (HELD_OUT - 1)


@dataclass(frozen=True)
class Chunk:
    """A span of time of a batch, as tensors. B sequences, T steps, L labelled positions.

    inputs:  (B, T) int64 tokens or (B, T, F) float32 features
    where:   (L,) int64 labelled positions in the flattened (B·T)
    answers: (L,) int64 tokens, or (L, F) int64 bits or float32 numbers, with IGNORE or NaN where
             nothing is asked
    lengths: (B,) int64, or None if there is no padding
    span:    the steps of the batch that it covers
    asked:   (B, T) bool array, True at labelled positions
    """

    inputs: Tensor
    where: Tensor
    answers: Tensor
    lengths: Tensor | None
    span: slice
    asked: np.ndarray


def count_answers(labels: np.ndarray) -> int:
    """Number of symbols asked for in labels (B, T), or of bits or numbers in labels (B, T, F)."""
    return int(is_asked(labels).sum())


def chunks(batch: Batch, length: int, device: torch.device | str) -> Iterator[Chunk]:
    """The batch cut along time into chunks of `length` steps (0: one chunk), on `device`.

    There is at least one chunk, and no chunk beyond the end of the longest sequence.
    """
    steps = batch.inputs.shape[1]
    length = length or steps
    for start in range(0, max(1, int(batch.lengths.max())), length):
        end = min(start + length, steps)
        labels = batch.labels[:, start:end]
        asked = is_asked(labels)
        if labels.ndim == 3:
            asked = np.asarray(asked.any(-1))
        left = np.clip(batch.lengths - start, 0, end - start)
        yield Chunk(
            inputs=_tensor(batch.inputs[:, start:end], device),
            where=_tensor(np.flatnonzero(asked), device),
            answers=_tensor(labels[asked], device),
            lengths=None if (left == end - start).all() else _tensor(left, device),
            span=slice(start, end),
            asked=asked,
        )


def _tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(array)).to(device, non_blocking=True)


class Feed:
    """The training batches of one process; the next one is drawn in the background.

    With `tbptt`, files are read as rows that continue from batch to batch, if the task can do so.
    """

    def __init__(self, config: TrainConfig, rank: int, world: int) -> None:
        self.config, self.rank, self.world = config, rank, world
        self.rows = config.batch_size // world  # sequences of each batch for this process
        self._pool = ThreadPoolExecutor(1) if config.prefetch else None
        self._next: tuple[Task, int, Future[Batch]] | None = None

    def batch(self, task: Task, step: int) -> Batch:
        """The batch of `step`, independent of earlier calls."""
        if self._pool is None:
            return self._draw(task, step)
        ahead, self._next = self._next, None
        if ahead is not None and ahead[1] == step and ahead[0] == task:
            batch = ahead[2].result()
        else:
            batch = self._draw(task, step)
        self._next = (task, step + 1, self._pool.submit(self._draw, task, step + 1))
        return batch

    def continues(self, task: Task, step: int) -> bool | None:
        """Whether the batch of `step` goes on with a state of the one before it; None if none
        does."""
        if self.config.crowd:
            return step % self.config.crowd != 0
        stream = self._stream(task)
        return None if stream is None else step % stream.chunks_per_epoch != 0

    def _stream(self, task: Task) -> Any:
        make = getattr(task, "stream", None)
        return make(self.rows * self.world) if self.config.tbptt and make else None

    def _draw(self, task: Task, step: int) -> Batch:
        stream, mine = self._stream(task), slice(self.rank * self.rows, (self.rank + 1) * self.rows)
        if stream is not None:
            chunk = stream.chunk(step)
            inputs, labels = chunk.inputs[mine], chunk.labels[mine]
            return Batch(inputs, labels, np.full(self.rows, inputs.shape[1], dtype=np.int64))
        if isinstance(task, FileTask):  # each example once per epoch
            whole = task.batch(self.rows * self.world, step, self.config.seed)
            return Batch(**{k: v[mine] for k, v in vars(whole).items() if v is not None})
        return task.draw(self.rows, training_seed(self.config.seed, step, self.rank))

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
