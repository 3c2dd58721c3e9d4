"""Examples as Parquet: one row an example, lists without padding; needs pyarrow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ramgru import files
from ramgru.errors import DataError
from ramgru.lab.tasks import archive, footer
from ramgru.lab.tasks.base import IGNORE
from ramgru.lab.tasks.columns import OPTIONAL, Examples, arrays_of, checked, parse_config

# Keys in the schema's metadata: of the config, and of the digest of the whole file.
KEY, SEAL = b"ramgru", b"ramgru.file"


def require() -> None:
    """DataError with the command to install pyarrow, if it is missing."""
    try:
        import pyarrow  # noqa: F401
    except ImportError as error:
        raise DataError(
            "Parquet needs pyarrow, which is not installed: pip install pyarrow"
        ) from error


def write(path: Path, examples: Examples) -> Path:
    """Write columns of lists over the steps: inputs, labels, distance and kind if there are any.

    Features and bits are one list, step after step; each step has as many as the task's channels.
    """
    import pyarrow
    import pyarrow.parquet

    batch = examples.batch
    shown = np.arange(batch.inputs.shape[1])[None] < batch.lengths[:, None]  # (B, T)
    columns = {}
    for name, array in arrays_of(batch).items():
        if name != "lengths":
            width = array.shape[2] if array.ndim == 3 else 1
            offsets = np.concatenate([[0], np.cumsum(batch.lengths * width)]).astype(np.int32)
            columns[name] = pyarrow.ListArray.from_arrays(
                pyarrow.array(offsets), pyarrow.array(array[shown].ravel())
            )
    metadata = {KEY: examples.config().encode(), SEAL: files.UNSEALED.encode()}
    written = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns).replace_schema_metadata(metadata), written)
    return files.write(path, files.sealed(written.getvalue().to_pybytes()))


def read(path: Path) -> Examples:
    """Read a file of `write`."""
    import pyarrow
    import pyarrow.parquet

    try:
        content = files.read(path, archive.MOST)
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        files.check_sealed(content)  # before pyarrow sees it, which a broken footer aborts
        archive.check_size(footer.count_values(content) * 8)
        table = pyarrow.parquet.read_table(pyarrow.BufferReader(content))
    except (OSError, ValueError, MemoryError, pyarrow.ArrowException) as error:
        raise DataError(f"{path} is not a Parquet file, or is broken: {error}") from error
    metadata = table.schema.metadata or {}
    if KEY not in metadata:
        raise DataError(f"{path} does not hold examples: it has no ramgru config")
    described = parse_config(path, metadata[KEY].decode("utf-8", errors="replace"))
    task = described[0]
    missing = [name for name in ("inputs", "labels") if name not in table.column_names]
    if missing:
        raise DataError(f"{path} does not hold examples: it lacks {', '.join(missing)}")

    over_features = task.vocab_size == 0
    empty: dict[str, float] = {"inputs": task.padding, "labels": IGNORE, "distance": -1, "kind": -1}
    widths = {"inputs": task.features} if over_features else {}
    if over_features and not task.classes:
        widths["labels"] = task.outputs
    arrays: dict[str, np.ndarray] = {}
    lengths: np.ndarray | None = None
    for name in ("inputs", "labels", *OPTIONAL):
        if name not in table.column_names:
            continue
        values, counts = _flat(path, name, table.column(name))
        width = widths.get(name, 1)
        if np.any(counts % width):
            raise DataError(f"{path}: lists of {name} must hold {width} numbers a step")
        if lengths is None:
            lengths = counts // width
        if not np.array_equal(lengths, counts // width):
            raise DataError(f"{path}: lists of {name} are not as long as those of inputs")
        try:
            archive.check_size(len(lengths) * int(lengths.max(initial=0)) * width * 8)
        except ValueError as error:
            raise DataError(f"{path} does not hold examples: {error}") from error
        arrays[name] = _pad(values, lengths, width if name in widths else None, empty[name])
    assert lengths is not None  # inputs are there
    return checked(path, {**arrays, "lengths": lengths}, *described)


def _flat(path: Path, name: str, column: Any) -> tuple[np.ndarray, np.ndarray]:
    """All numbers of a column of lists, and the length of each row's list."""
    import pyarrow

    lists = column.combine_chunks()
    if isinstance(lists, pyarrow.ChunkedArray):  # a column without rows has no chunk to combine
        lists = pyarrow.concat_arrays(lists.chunks)
    if not pyarrow.types.is_list(lists.type) or lists.null_count or lists.flatten().null_count:
        raise DataError(f"{path}: column {name} must hold lists of numbers, none of them missing")
    values = lists.flatten().to_numpy(zero_copy_only=False)
    if values.dtype.kind not in "iuf":
        raise DataError(f"{path}: column {name} must hold numbers, got {lists.type}")
    return values, lists.value_lengths().to_numpy(zero_copy_only=False).astype(np.int64)


def _pad(values: np.ndarray, lengths: np.ndarray, width: int | None, empty: float) -> np.ndarray:
    """(sum of steps * width,) numbers -> (B, T), or (B, T, width) if a width is given."""
    steps = int(lengths.max(initial=0))
    shape = (len(lengths), steps) if width is None else (len(lengths), steps, width)
    padded = np.full(shape, empty, dtype=values.dtype)
    shown = np.arange(steps)[None] < lengths[:, None]
    padded[shown] = values if width is None else values.reshape(-1, width)
    return padded
