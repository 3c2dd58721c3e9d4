"""A file of numbers as series: .csv and .tsv with named columns, .npy arrays.

What is not understood is one sentence with the file, the line and what was expected.
"""

from __future__ import annotations

import csv
import hashlib
import io
import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.spec import nearest
from ramgru.lab.tasks import archive
from ramgru.lab.tasks.text import read

DELIMITERS = ",;\t"
ENDINGS = (".csv", ".tsv", ".npy")
MOST_COLUMNS = 1 << 14  # as many as a spreadsheet has


@dataclass(frozen=True, eq=False)
class Columns:
    """The cells of a file, N rows.

    names:   of the columns
    cells:   of each column: (N,) float64, or (N,) text if one of its cells is no number
    series:  (N,) int64, the series that a row belongs to; rows of a series follow each other
    place:   where a row stands in the file, for messages
    digest:  SHA-256 of the file
    """

    names: tuple[str, ...]
    cells: tuple[np.ndarray, ...]
    series: np.ndarray
    place: Callable[[int], str]
    digest: str

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def index(self, path: str, option: str, name: str) -> int:
        """The number of a column; DataError if there is none of this name."""
        if name not in self._places:
            raise DataError(f"{option}: {path} has no column {name!r}{nearest(name, self.names)}")
        return self._places[name]

    def numbers(self, path: str, column: int) -> np.ndarray:
        """(N,) a column of finite numbers; DataError names the first cell that is none."""
        cells = self.cells[column]
        if cells.dtype.kind == "f" and (abs(cells) <= archive.LARGEST).all():
            return cells
        for row, cell in enumerate(cells.tolist()):
            number = cell if isinstance(cell, float) else _number(cell)
            if number is None or not abs(number) <= archive.LARGEST:
                got = repr(cell) if cell != "" else "nothing"
                finite = number is not None and math.isfinite(number)
                most = f" up to {archive.LARGEST:g}" if finite else ""
                raise DataError(
                    f"{path}, {self.place(row)}, column {self.names[column]}: expected a number"
                    f"{most}, got {got}; --task.skip {self.names[column]} leaves the column out"
                )
        raise AssertionError("a column of text holds a cell that is no number")

    def grouped(self, column: int) -> Columns:
        """The same rows in the order of the values of a column, each of which is one series."""
        values, order = self.cells[column].tolist(), Counter[object]()
        for value in values:
            order.setdefault(value, len(order))
        series = np.array([order[value] for value in values], dtype=np.int64)
        rows = np.argsort(series, kind="stable")
        place, names = self.place, self.names
        cells = tuple(cell[rows] for cell in self.cells)
        return Columns(names, cells, series[rows], lambda n: place(int(rows[n])), self.digest)


def read_columns(path: str) -> Columns:
    """Read a file by its ending. DataError if it is missing, empty, or not what its ending says."""
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise DataError(f"{path} is no table: expected a file that ends in {', '.join(ENDINGS)}")
    content = read(path)
    if not content.strip():
        raise DataError(f"{path} is empty")
    digest = hashlib.sha256(content).hexdigest()
    return (_read_array if ending == ".npy" else _read_text)(path, content, digest)


def _read_text(path: str, content: bytes, digest: str) -> Columns:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path}, line {line}: expected UTF-8, got the byte {content[error.start]:#04x}"
        ) from error
    first = text.lstrip().split("\n", 1)[0]
    delimiter = max(DELIMITERS, key=first.count)
    rows, lines = [], []
    reader = csv.reader(io.StringIO(text), delimiter=delimiter, strict=True)
    try:
        for row in reader:
            if row:  # not a blank line
                _check_width(path, len(row))
                rows.append([cell.strip() for cell in row])
                lines.append(reader.line_num)
    except csv.Error as error:
        raise DataError(
            f"{path}, line {reader.line_num}: expected a row of cells, {error}"
        ) from error
    if not rows:
        raise DataError(f"{path} is empty")
    names = tuple(str(n + 1) for n in range(len(rows[0])))
    if any(_number(cell) is None for cell in rows[0]):
        names = tuple(rows.pop(0))
        header = lines.pop(0)
        times = Counter(names)
        twice = next((name for name in names if times[name] > 1 or not name), None)
        if twice is not None:
            raise DataError(
                f"{path}, line {header}: expected a different name for each column, got {twice!r}"
                + (" twice" if twice else "")
            )
    if not rows:
        raise DataError(f"{path}, line {header}: expected rows below the names of the columns")
    for row, line in zip(rows, lines):
        if len(row) != len(names):
            raise DataError(f"{path}, line {line}: expected {len(names)} cells, got {len(row)}")
    cells = tuple(map(_column, zip(*rows)))
    series = np.zeros(len(rows), dtype=np.int64)
    return Columns(names, cells, series, lambda row: f"line {lines[row]}", digest)


def _check_width(path: str, columns: int) -> None:
    if columns > MOST_COLUMNS:
        raise DataError(f"{path}: expected at most {MOST_COLUMNS:,} columns, got {columns:,}")


def _column(cells: Sequence[str]) -> np.ndarray:
    try:
        return np.array([float(cell) for cell in cells])
    except ValueError:
        return np.array(cells, dtype=object)  # NumPy's own text would lose NUL characters


def _number(cell: str) -> float | None:
    try:
        return float(cell)
    except ValueError:
        return None


def _read_array(path: str, content: bytes, digest: str) -> Columns:
    try:
        array = np.load(io.BytesIO(content), allow_pickle=False)
    except (OSError, *archive.BROKEN) as error:
        raise DataError(
            f"{path} is no .npy array of numbers: it is broken or of objects"
        ) from error
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiub":
        raise DataError(
            f"{path}: expected an array of numbers, got {getattr(array, 'dtype', 'npz')}"
        )
    if array.ndim not in (1, 2, 3) or not array.size:
        raise DataError(
            f"{path}: expected numbers of shape (steps,), (steps, columns) or (series, steps, "
            f"columns), got {array.shape}"
        )
    _check_width(path, 1 if array.ndim == 1 else array.shape[-1])
    with np.errstate(all="ignore"):  # overflow and signalling NaN are told as no number
        steps = array.reshape(-1, 1 if array.ndim == 1 else array.shape[-1]).astype(np.float64)
    each = array.shape[1] if array.ndim == 3 else len(steps)
    return Columns(
        tuple(str(n + 1) for n in range(steps.shape[1])),
        tuple(steps.T),
        np.arange(len(steps)) // each,
        lambda row: f"row {row % each}" + (f" of series {row // each}" if array.ndim == 3 else ""),
        digest,
    )
