"""Examples of any task in a file, npz or Parquet, with the task's config; a file as a task.

Reading executes nothing: no pickle, and the config can only name registered tasks.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar

import numpy as np

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import archive, checks, columns, parquet
from ramgru.lab.tasks.base import Batch, Slice, Task
from ramgru.lab.tasks.columns import Examples
from ramgru.lab.tasks.registry import SOURCES, register
from ramgru.lab.tasks.text import FromFile, stamp

PARQUET = (".parquet", ".pq")


def write_examples(path: str | os.PathLike[str], task: Task, count: int, seed: int = 0) -> Path:
    """Write `count` examples, the bits of `task.draw(count, seed)`, to `path`.

    The ending is the format: .npz, or .parquet (which needs pyarrow). The file is moved into place
    once it is complete. Raises RamgruError if that fails (a full disk, a missing folder), and then
    leaves nothing behind.
    """
    path = Path(path)
    checks.draw_arguments(count, seed)
    if task.name in SOURCES:
        raise ValueError(f"task must be drawn from a seed alone, got {task.name}, which has a file")
    if path.suffix not in (".npz", *PARQUET):
        raise ValueError(f"path must end in .npz or .parquet, got {os.fspath(path)!r}")
    if path.suffix in PARQUET:
        parquet.require()
    if not path.parent.is_dir():  # checked before minutes of drawing
        raise DataError(f"cannot write {path}: there is no folder {path.parent}")
    each = sum(array.nbytes for array in columns.arrays_of(task.draw(1, seed)).values())
    if each * count > archive.MOST:  # as large as a reader takes
        raise ValueError(
            f"count must be at most {archive.MOST // each:,} for examples of {task.name} of this "
            f"size, got {count:,}"
        )
    if path.exists() and not is_examples(path):
        raise DataError(f"cannot write {path}: it is there, and holds no examples of ramgru")
    examples = Examples(task.draw(count, seed), task, seed)
    if path.suffix in PARQUET:
        return parquet.write(path, examples)
    return columns.write_npz(path, examples)


def is_examples(path: Path) -> bool:
    """Whether a file was written by `write_examples`, at a glance."""
    try:
        if path.suffix in PARQUET:
            import pyarrow.parquet

            with files.open_regular(path) as file:
                return parquet.KEY in (pyarrow.parquet.read_schema(file).metadata or {})
        return columns.FORMAT in str(archive.read(path, ("config",)).get("config"))
    except (OSError, *columns.BROKEN):
        return False


def read_examples(path: str | os.PathLike[str]) -> Examples:
    """Read a file of `write_examples`. DataError if it is missing, broken or foreign."""
    path = Path(path)
    if path.suffix in PARQUET:
        parquet.require()
        return parquet.read(path)
    return columns.read_npz(path)


@register
@dataclass(frozen=True)
class FileTask(FromFile):
    """Examples of a file, as `ramgru generate` writes them, drawn as batches.

        task = FileTask("mqar.npz")
        task.draw(64, seed)       a batch of different examples, chosen by the seed
        task.batch(64, step)      batch number `step` of an endless pass over the data, in which
                                  every epoch has its own order

    Sizes, metric, chance and plateau are those of the task in the file (`source`). An evaluation
    draws its grid from that task, from seeds. Raises DataError for a file that is missing, broken
    or foreign, or that holds values outside the task's.
    """

    name: ClassVar[str] = "file"
    vocab_size = features = outputs = 0  # and then those of the source

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("metric", "kinds", "classes", "padding", "vocab_size", "features", "outputs"):
            object.__setattr__(self, name, getattr(self.source, name))

    @property
    def examples(self) -> Examples:
        return _cached(self.path, stamp(self.path))

    @property
    def digest(self) -> str:
        """SHA-256 of the examples, to detect that a resumed run has other data."""
        return self.examples.digest

    @property
    def source(self) -> Task:
        """The task that drew the examples."""
        return self.examples.task

    def __len__(self) -> int:
        """Examples in the file."""
        return len(self.examples.batch.lengths)

    @property
    def chance(self) -> float:
        return self.source.chance

    @property
    def plateau(self) -> float | None:
        return self.source.plateau

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        self._enough(rows)
        return self.examples.rows(rng.choice(len(self), rows, replace=False))

    def batches_per_epoch(self, batch_size: int) -> int:
        """Whole batches in the file; the examples left over differ from epoch to epoch."""
        self._enough(checks.integer("batch_size", batch_size, 1))
        return len(self) // batch_size

    def batch(self, batch_size: int, step: int, seed: int = 0) -> Batch:
        """The batch of number `step`: no example comes twice in one epoch."""
        per_epoch = self.batches_per_epoch(batch_size)
        epoch, index = divmod(checks.integer("step", step, 0), per_epoch)
        checks.integer("seed", seed, 0)
        order = _order(len(self), seed, epoch)
        return self.examples.rows(order[index * batch_size : (index + 1) * batch_size])

    def grid(self) -> Sequence[Slice]:
        return self.source.grid()

    def held_out(self) -> Task:
        return self.source.held_out()

    def _enough(self, rows: int) -> None:
        if rows > len(self):
            raise ValueError(
                f"batch_size must be at most {len(self)}, the examples in {self.path}, got {rows}"
            )


@lru_cache(maxsize=4)
def _cached(path: str, stamp: tuple[int, int]) -> Examples:
    return read_examples(path)


@lru_cache(maxsize=8)
def _order(count: int, seed: int, epoch: int) -> np.ndarray:
    return np.random.default_rng((seed, epoch)).permutation(count)
