"""Examples and their task, checked against each other; their npz file."""

from __future__ import annotations

import hashlib
import json
import lzma
import struct
import zipfile
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import archive
from ramgru.lab.tasks.base import IGNORE, Batch, Task
from ramgru.lab.tasks.registry import SOURCES, from_config, to_config

FORMAT = "ramgru examples"
REQUIRED = ("inputs", "labels", "lengths")
OPTIONAL = ("distance", "kind")
# The errors of numpy and zipfile for a broken or foreign archive.
BROKEN = (
    *archive.BROKEN,
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error),
    *(NotImplementedError, RuntimeError),  # of zipfile, for a strange or an encrypted member
)


@dataclass(frozen=True, eq=False)
class Examples:
    """batch: all examples of a file;  task, seed: batch = task.draw(count, seed)"""

    batch: Batch
    task: Task
    seed: int

    def config(self) -> str:
        """The JSON that describes the task in the file."""
        return json.dumps(
            {
                "format": FORMAT,
                "version": 1,
                "task": to_config(self.task),
                "seed": self.seed,
                files.DIGEST: self.digest,
            }
        )

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the task, the seed and all arrays, however a file stores them."""
        described = {"task": to_config(self.task), "seed": self.seed}
        total = hashlib.sha256(files.digest(described).encode())
        for name, array in vars(self.batch).items():
            if array is not None:
                total.update(f"{name} {array.dtype.str} {array.shape}".encode())
                total.update(np.ascontiguousarray(array).data)
        return total.hexdigest()

    def rows(self, rows: np.ndarray) -> Batch:
        """A batch of these rows, no longer than its longest example."""
        batch = self.batch
        lengths = batch.lengths[rows]
        steps = int(lengths.max())

        def cut(array: np.ndarray | None) -> Any:
            return None if array is None else array[rows, :steps]

        inputs, labels = cut(batch.inputs), cut(batch.labels)
        return Batch(inputs, labels, lengths, cut(batch.distance), cut(batch.kind))


def parse_config(path: Path, text: str) -> tuple[Task, int, str | None]:
    """(task, seed, digest) from a file's JSON; DataError for JSON of another kind."""
    try:
        config: Any = files.parse_json(text)
    except ValueError as error:
        raise DataError(f"{path} does not hold examples: its config is no JSON") from error
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise DataError(f'{path} does not hold examples: "format" must be "{FORMAT}"')
    if config.get("version") != 1:
        raise DataError(f"{path} has version {config.get('version')!r}, expected 1")
    seed = config.get("seed")
    if not isinstance(seed, int):
        raise DataError(f"{path} has the seed {seed!r}, expected an integer")
    described = config.get("task")
    if isinstance(described, dict) and described.get("name") in SOURCES:
        # it could name itself, or any other file of this machine
        raise DataError(f"{path} names the task {described['name']}, which reads a file of its own")
    try:
        task = from_config(described)
    except (TypeError, ValueError) as error:
        raise DataError(f"{path} names a task that cannot be made: {error}") from error
    return task, seed, config.get(files.DIGEST)


def checked(
    path: Path, arrays: dict[str, np.ndarray], task: Task, seed: int, digest: str | None
) -> Examples:
    """Examples of these arrays; DataError if shapes, types, values or the digest do not fit.

    digest: None for a file that was written without one
    """
    inputs, labels, lengths = (arrays[name] for name in REQUIRED)

    def need(holds: Any, expected: str) -> None:
        if not holds:
            raise DataError(f"{path} does not hold examples of {task.name}: {expected}")

    def whole(name: str, array: np.ndarray) -> None:
        need(array.dtype.kind in "iu", f"{name} must be integers, got {array.dtype}")

    over_features = task.vocab_size == 0
    bits = over_features and not task.classes
    need(
        lengths.ndim == 1 and len(lengths),
        f"lengths must be one number an example, got shape {lengths.shape}",
    )
    for name, array, width in (
        ("inputs", inputs, task.features),
        ("labels", labels, task.outputs if bits else 0),
    ):
        need(
            array.ndim == (3 if width else 2)
            and array.shape[:2] == (len(lengths), inputs.shape[1]),
            f"{name} of shape {array.shape} do not fit {len(lengths)} examples",
        )
        need(
            not width or array.shape[2] == width,
            f"{name} have {array.shape[-1]} channels, expected {width}",
        )
        if not (name == "inputs" and over_features):
            whole(name, array)
    whole("lengths", lengths)
    low, high, steps = lengths.min(), lengths.max(), inputs.shape[1]
    need(1 <= low <= high <= steps, f"lengths must be from 1 to {steps}, got {low} to {high}")
    if over_features:
        need(
            inputs.dtype.kind == "f" and (abs(inputs) <= archive.LARGEST).all(),
            f"inputs must be finite numbers up to {archive.LARGEST:g}",
        )
    else:
        known = 0 <= inputs.min() <= inputs.max() < task.vocab_size
        need(known, f"inputs must be tokens below {task.vocab_size}")
    answers = labels[labels != IGNORE]
    top = 2 if bits else task.vocab_size or task.outputs
    need(
        not answers.size or 0 <= answers.min() <= answers.max() < top,
        f"labels must be {IGNORE} or below {top}",
    )
    optional = {name: arrays[name] for name in OPTIONAL if name in arrays}
    for name, array in optional.items():
        fits = array.shape == inputs.shape[:2] and array.dtype.kind in "iu"
        need(fits, f"{name} must be integers of shape {inputs.shape[:2]}")
    if "kind" in optional:
        kind, kinds = optional["kind"], len(task.kinds)
        need(-1 <= kind.min() <= kind.max() < kinds, f"kind must be from -1 to {kinds - 1}")
    batch = Batch(
        inputs.astype(np.float32 if over_features else np.int64),
        labels.astype(np.int64),
        lengths.astype(np.int64),
        **{name: array.astype(np.int64) for name, array in optional.items()},
    )
    examples = Examples(batch, task, seed)
    need(digest in (None, examples.digest), "they are not what was written: the digest differs")
    return examples


def arrays_of(batch: Batch) -> dict[str, np.ndarray]:
    """The arrays of a batch by name, integers as int32: half the size, enough for every task."""
    named = {name: getattr(batch, name) for name in (*REQUIRED, *OPTIONAL)}
    return {
        name: array.astype(np.int32) if array.dtype.kind in "iu" else array
        for name, array in named.items()
        if array is not None
    }


def write_npz(path: Path, examples: Examples) -> Path:
    """Write compressed arrays, and the config as a string."""
    arrays: dict[str, Any] = {"config": np.array(examples.config()), **arrays_of(examples.batch)}
    return files.write(path, lambda file: np.savez_compressed(file, **arrays))


def read_npz(path: Path) -> Examples:
    """Read a file of `write_npz`."""
    try:
        arrays = archive.read(path, ("config", *REQUIRED, *OPTIONAL))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    except BROKEN as error:
        raise DataError(f"{path} does not hold examples, or is broken: {error}") from error
    missing = [name for name in ("config", *REQUIRED) if name not in arrays]
    if missing:
        raise DataError(f"{path} does not hold examples: it lacks {', '.join(missing)}")
    return checked(path, arrays, *parse_config(path, str(arrays.pop("config"))))
