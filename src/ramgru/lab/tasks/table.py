"""table: series of your own numbers. Forecast a column, or tell the class or value of a row."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple

import numpy as np

from ramgru.errors import DataError
from ramgru.lab.spec import listed
from ramgru.lab.tasks import archive, checks, sampling
from ramgru.lab.tasks.base import IGNORE, Batch, Slice, Task
from ramgru.lab.tasks.registry import register
from ramgru.lab.tasks.table_file import Columns, read_columns
from ramgru.lab.tasks.text import SPLITS, FromFile, stamp

PREDICT = ("forecast", "class", "value")
ASK = ("row", "end")


@dataclass(frozen=True)
class Fit:
    """What a model must know of the file that it was trained on; F columns, O answers.

    columns:         names of the columns that the model reads
    center, spread:  (F,) mean and standard deviation of each in the training part
    origin:          mean answer, from which values are measured; a forecast is measured from the
                     naive forecast instead
    unit:            (O,) size of an answer of 1
    classes:         names of the classes, if the answer is one
    """

    columns: tuple[str, ...]
    center: tuple[float, ...]
    spread: tuple[float, ...]
    origin: float
    unit: tuple[float, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file as a model reads them; N rows, F features, O answers.

    inputs:   (N, F) float64
    answers:  (N, O) float64 in units of `Fit.unit`, from `origin` on, NaN where there is none; or
              (N,) int64 classes
    origin:   (N, 1) or (N, O) float64, the prediction of a model that answers 0
    starts:   (S + 1,) int64, the first row of each series, and N
    """

    inputs: np.ndarray
    answers: np.ndarray
    origin: np.ndarray
    starts: np.ndarray


@register
@dataclass(frozen=True)
class Table(FromFile):
    """Table: predict a column of your own numbers from the rows so far.

    A row is a step. The file is .csv or .tsv, with a line of names, or .npy of shape (steps,),
    (steps, columns) or (series, steps, columns), whose columns are named 1, 2, …

        month,sales          target=sales, skip=month, horizon=2:
        2024-01,112          reads   112      118      132      …
        2024-02,118          tells   118 132  132 129  …

    target:     the column to predict; may be left out if there is only one
    predict:    "forecast", the next values of the column; "class" or "value", the class or the
                number in the same row, which is then not read
    ask:        at every "row", or at the "end" of each series
    series:     the column that names the series of a row; "" for one series
    skip:       columns to leave out, separated by commas
    horizon:    rows ahead, of a forecast
    season:     rows of a season: the naive forecast is the value of one season before
    length:     rows in a window
    split:      "train" or "validation"
    validation: share that is held out: the last rows of each series, or whole series for a class or
                a value in several series
    fit:        names and scales of a trained model's file, to read another one; "" takes the file's

    A forecast is learned as the difference to the naive forecast. Its metric is the skill: 1 - the
    squared errors over those of the naive forecast, or over those of the mean for a value, so
    chance is 0. For a class it is accuracy, and chance is the share of the most frequent class.
    Raises DataError, with file and line, for cells that are not understood.
    """

    name: ClassVar[str] = "table"
    smallest: ClassVar[dict[str, int]] = {"length": 1, "horizon": 1, "season": 1}
    vocab_size = 0

    target: str = ""
    predict: str = "forecast"
    ask: str = "row"
    series: str = ""
    skip: str = ""
    horizon: int = 1
    season: int = 1
    length: int = 64
    split: str = "train"
    validation: float = 0.2
    fit: str = ""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("predict", PREDICT), ("ask", ASK), ("split", SPLITS)):
            checks.one_of(name, getattr(self, name), allowed)
        checks.share("validation", self.validation, whole=False)
        if self.ask == "end" and self.predict == "forecast":
            raise ValueError('ask must be "row" for predict="forecast", got "end"')
        if not self.fit:
            object.__setattr__(self, "fit", json.dumps(asdict(_fitted(self))))
        classes = self.predict == "class"
        object.__setattr__(self, "classes", classes)
        object.__setattr__(self, "metric", "accuracy" if classes else "skill")

    @property
    def fitted(self) -> Fit:
        """The names and scales that `fit` holds. Raises ValueError."""
        return _parse_fit(self.fit)

    @property
    def features(self) -> int:
        return len(self.fitted.columns) + (self.predict == "forecast")

    @property
    def outputs(self) -> int:
        return len(self.fitted.classes or self.fitted.unit)

    @property
    def digest(self) -> str:
        """SHA-256 of the file, to detect that a resumed run has other data."""
        return self.columns(self.path).digest

    @property
    def chance(self) -> float:
        if self.predict != "class":
            return 0.0
        rows = self.rows(self.path)
        answers = rows.answers[self._asked()]
        return float(np.bincount(answers).max() / answers.size)

    def grid(self) -> Sequence[Slice]:
        """The held-out part."""
        return (Slice({"length": self.length}, self.held_out()),)

    def held_out(self) -> Task:
        return self.resized(split="validation") if self.validation else self

    def columns(self, path: str) -> Columns:
        """The cells of a file, its series in order."""
        return _columns(path, self.series, stamp(path))

    def rows(self, path: str) -> Rows:
        """A file as the model reads it, with the scales of `fit`."""
        key = (self.target, self.predict, self.series, self.horizon, self.season, self.fit)
        return _rows(path, *key, stamp(path))

    @property
    def number_of_examples(self) -> int | None:
        """Number of windows that ask each held-out row once; None for training windows."""
        return len(self._questions().windows) if self.split == "validation" else None

    def _questions(self) -> Questions:
        return _questions(self, stamp(self.path))

    def _held(self) -> np.ndarray:
        """(N,) bool: the rows of the held-out part."""
        starts = self.rows(self.path).starts
        held = np.zeros(starts[-1], dtype=bool)
        series = np.arange(len(starts) - 1)
        if self.predict != "forecast" and len(series) > 1:
            # Spread over the file, which may be sorted by class.
            chosen = np.floor((series + 1) * self.validation) > np.floor(series * self.validation)
            for n in series[chosen]:
                held[starts[n] : starts[n + 1]] = True
            return held
        for first, end in pairwise(starts.tolist()):
            border = end - int((end - first) * self.validation)
            # A forecast belongs to the part of the first value that it tells.
            held[max(first, border - (self.predict == "forecast")) : end] = border < end
        return held

    def _asked(self) -> np.ndarray:
        """`asked`, computed."""
        rows, held = self.rows(self.path), self._held()
        asked = held if self.split == "validation" else ~held
        if self.predict == "forecast":
            asked = asked & ~np.isnan(rows.answers).all(axis=1)
        if self.ask == "end":
            ends = np.zeros_like(asked)
            ends[rows.starts[1:] - 1] = True
            asked = asked & ends
        return asked

    def _windows(self, asked: np.ndarray) -> np.ndarray:
        """(W, 3) of each window: its first row, the row after its last, and the first row that it
        asks about. Each asked row is in one window; at least half of a window is rows before it."""
        windows = []
        starts = self.rows(self.path).starts
        for first, end in pairwise(starts.tolist()):
            places = first + np.flatnonzero(asked[first:end])
            while places.size:
                ask = int(places[0])
                last = min(ask + max(1, self.length // 2), int(places[-1]) + 1)
                windows.append((max(first, last - self.length), last, ask))
                places = places[places >= last]
        return np.array(windows, dtype=np.int64)

    def windows(self, rows: int, rng: np.random.Generator) -> np.ndarray:
        """(rows, 3) of each example: its first row, the row after its last, and the first row that
        it asks about. They end anywhere in the training part; or they ask about each held-out row
        once, with the rows before it."""
        windows = self._questions().windows
        if not windows.size:
            raise DataError(
                f"{self.path} is too short: its {self.split} part "
                f"(validation={self.validation:g}) has no row to ask about"
            )
        chosen = windows[sampling.each_once(rng, rows, len(windows))]
        if self.split == "validation" or self.ask == "end":
            return chosen
        _, end, ask = chosen.T
        starts = self.rows(self.path).starts
        end = ask + 1 + (rng.random(rows) * (end - ask)).astype(np.int64)
        first = starts[np.searchsorted(starts, ask, side="right") - 1]
        begin = np.maximum(first, end - self.length)
        return np.stack([begin, end, begin], axis=1)  # asked about every row

    def asked(self) -> np.ndarray:
        """(N,) bool: the rows of this split that ask something."""
        return self._questions().asked

    def _draw(self, rows: int, rng: np.random.Generator) -> Batch:
        data, (asked, _, beyond) = self.rows(self.path), self._questions()
        begin, end, ask = self.windows(rows, rng).T
        lengths = end - begin
        step = np.arange(int(lengths.max()))
        place = np.minimum(begin[:, None] + step, len(asked) - 1)  # (B, T)
        shown = step < lengths[:, None]
        inputs = np.where(shown[..., None], data.inputs[place], 0).astype(np.float32)
        here = shown & asked[place] & (place >= ask[:, None])
        if self.predict == "class":
            return Batch(inputs, np.where(here, data.answers[place], IGNORE), lengths)
        labels = np.where(here[..., None], data.answers[place], np.nan)
        if self.split == "train" and self.predict == "forecast":
            labels[beyond[place]] = np.nan
        return Batch(inputs, labels.astype(np.float32), lengths)

    def _beyond(self) -> np.ndarray:
        """(N, O) bool: forecasts from the training part of values in the held-out part."""
        held = self._held()
        ahead = np.arange(1, self.horizon + 1)
        place = np.minimum(np.arange(len(held))[:, None] + ahead, len(held) - 1)
        # The first held-out row forecasts the first held-out value, one row later.
        return held[np.maximum(place - 1, 0)] & ~held[:, None]


class Questions(NamedTuple):
    """Where a task asks: see `Table._asked`, `_windows` and `_beyond`."""

    asked: np.ndarray
    windows: np.ndarray
    beyond: np.ndarray


@lru_cache(maxsize=8)
def _questions(task: Table, stamp: tuple[int, int]) -> Questions:
    asked = task._asked()
    return Questions(asked, task._windows(asked), task._beyond())


@lru_cache(maxsize=4)
def _columns(path: str, series: str, stamp: tuple[int, int]) -> Columns:
    columns = read_columns(path)
    if not series:
        return columns
    return columns.grouped(columns.index(path, "--task.series", series))


@lru_cache(maxsize=16)
def _parse_fit(text: str) -> Fit:
    try:
        values = {name: _tuples(value) for name, value in json.loads(text).items()}
        return Fit(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"fit must be what a run on a table stored, got {text!r}") from error


def _tuples(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _fitted(task: Table) -> Fit:
    """The names, scales and classes of a task's file, from its training part."""
    path, columns = task.path, task.columns(task.path)
    skipped = [name.strip() for name in task.skip.split(",") if name.strip()]
    for name in skipped:
        columns.index(path, "--task.skip", name)
    apart = {*skipped, task.series}
    left = [name for name in columns.names if name not in apart]
    target = task.target or (left[0] if len(left) == 1 else "")
    if not target:
        raise DataError(f"{path}: give --task.target, one of its columns {listed(left)}")
    columns.index(path, "--task.target", target)
    object.__setattr__(task, "target", target)
    forecast, is_class = task.predict == "forecast", task.predict == "class"
    read = [name for name in left if forecast or name != target]
    if not read:
        raise DataError(f"{path}: expected columns to read beside {target}, got none")
    classes: tuple[str, ...] = ()
    if is_class:
        cells = columns.cells[columns.names.index(target)]
        classes = tuple(sorted({_class(cell) for cell in cells.tolist()}))
        if len(classes) > max(2, len(cells) // 2):
            raise DataError(
                f"{path}, column {target}: expected classes, got {len(classes)} different cells in "
                f"{len(cells)} rows; --task.predict value or forecast tells numbers"
            )
    outputs = task.horizon if forecast else 1
    ones = (1.0,) * len(read)
    bare = Fit(
        tuple(read), (0.0,) * len(read), ones, 0.0, () if is_class else (1.0,) * outputs, classes
    )
    object.__setattr__(task, "fit", json.dumps(asdict(bare)))
    rows, train = task.rows(path), ~task._held()
    inputs = rows.inputs[train, : len(read)]
    answers = rows.answers.astype(np.float64)
    if forecast:
        answers[task._beyond()] = np.nan
    answers = answers[train]
    if not train.any() or (not is_class and np.isnan(answers).all()):
        raise DataError(f"{path} is too short: it has no row to learn from")
    origin = 0.0 if forecast or is_class else float(answers.mean())
    unit = () if is_class else _sizes(np.sqrt(np.nanmean((answers - origin) ** 2, axis=0)))
    return Fit(tuple(read), *_scales(inputs), origin, unit, classes)


def _scales(inputs: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(inputs.mean(axis=0).tolist()), _sizes(inputs.std(axis=0))


def _sizes(values: np.ndarray) -> tuple[float, ...]:
    """Positive numbers to divide by: a constant column stays as it is."""
    return tuple(np.where(values > 0, values, 1.0).tolist())


def _class(cell: Any) -> str:
    return str(int(cell)) if isinstance(cell, float) and cell.is_integer() else str(cell)


@lru_cache(maxsize=8)
@np.errstate(over="ignore")
def _rows(
    path: str,
    target: str,
    predict: str,
    series: str,
    horizon: int,
    season: int,
    fit: str,
    stamp: tuple[int, int],
) -> Rows:
    columns, known = _columns(path, series, stamp), _parse_fit(fit)
    find = {name: columns.index(path, "which was read in training", name) for name in known.columns}
    inputs = np.stack([columns.numbers(path, n) for n in find.values()], axis=1)
    inputs = (inputs - known.center) / known.spread
    starts = np.flatnonzero(np.diff(columns.series, prepend=-1, append=-1))
    if predict == "forecast":
        values = columns.numbers(path, columns.index(path, "--task.target", target))
        answers, origin = _ahead(values, starts, horizon, season)
        answers = (answers - origin) / known.unit
        change = values - values[_before(starts, season)]
        inputs = np.concatenate([inputs, change[:, None] / known.unit[0]], axis=1)
    elif predict == "value":
        values = columns.numbers(path, columns.index(path, "--task.target", target))
        origin = np.full((len(values), 1), known.origin)
        answers = (values[:, None] - origin) / known.unit
    else:
        cells = columns.cells[columns.index(path, "--task.target", target)].tolist()
        origin = np.zeros((len(cells), 1))
        number = {name: n for n, name in enumerate(known.classes)}
        try:
            answers = np.array([number[_class(cell)] for cell in cells], dtype=np.int64)
        except KeyError as error:
            row = next(n for n, cell in enumerate(cells) if _class(cell) not in number)
            raise DataError(
                f"{path}, {columns.place(row)}, column {target}: expected one of the classes "
                f"{', '.join(known.classes)}, got {error}"
            ) from error
    if (abs(inputs) > archive.LARGEST).any() or (abs(answers) > archive.LARGEST).any():
        raise DataError(
            f"{path}: expected numbers up to {archive.LARGEST:g} times as large as those of the "
            "training part, got larger ones"
        )
    return Rows(inputs, answers, origin, starts)


def _before(starts: np.ndarray, steps: int) -> np.ndarray:
    """(N,) the row so many steps before each, at least the first one of its series."""
    row = np.arange(starts[-1])
    first = np.repeat(starts[:-1], np.diff(starts))
    return np.maximum(first, row - steps)


def _ahead(
    values: np.ndarray, starts: np.ndarray, horizon: int, season: int
) -> tuple[np.ndarray, np.ndarray]:
    """(N, horizon) each: the values of the rows ahead, NaN beyond the end of a series; and the
    naive forecasts, each the last known value that is whole seasons before."""
    row = np.arange(len(values))[:, None]
    ahead = np.arange(1, horizon + 1)
    end = np.repeat(starts[1:], np.diff(starts))[:, None]
    answers = np.where(row + ahead < end, values[np.minimum(row + ahead, end - 1)], np.nan)
    back = -(-ahead // season) * season - ahead  # from this row back to the season's value
    first = np.repeat(starts[:-1], np.diff(starts))[:, None]
    return answers, values[np.maximum(first, row - back)]
