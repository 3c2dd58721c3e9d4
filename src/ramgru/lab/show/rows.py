"""Rows of a table as one input: drawn from the run's file, or the first ones of another file.

Columns, scales and classes are those of the run's training.
"""

from __future__ import annotations

import math
import os

import numpy as np

from ramgru.lab.show.data import Example, Question, Scale
from ramgru.lab.show.sentences import number_text
from ramgru.lab.tasks.table import Table

CELLS = 3  # of a row that its label shows
DIGITS = 5  # of a cell, from the first digit of its column's spread on


def draw(task: Table, seed: int) -> Example:
    """The rows of `task.draw(1, seed)`, and their questions."""
    ((begin, end, ask),) = task.windows(1, np.random.default_rng(seed)).tolist()
    asked = ask + np.flatnonzero(task.asked()[ask:end])
    return _example(task, task.path, begin, end, asked)


def read(task: Table, path: str | os.PathLike[str], most: int) -> Example:
    """The first rows of a file's first series, each of them asked about; or the whole series, which
    is asked about at its end. Raises DataError if the file is not understood."""
    path = os.path.abspath(path)
    end = int(task.rows(path).starts[1])
    if task.ask == "end":
        return _example(task, path, 0, end, np.array([end - 1]))
    end = min(end, most)
    return _example(task, path, 0, end, np.arange(end))


def cells(task: Table, inputs: np.ndarray) -> dict[str, np.ndarray]:
    """{column: (T,) its numbers in the file's own unit} of inputs (T, F)."""
    known, found = task.fitted, {}
    scales = zip(known.columns, known.spread, known.center)
    for (column, spread, center), standard in zip(scales, inputs.T.astype(np.float64)):
        exact = DIGITS - math.floor(math.log10(spread))  # float32 holds no more
        found[column] = (standard * spread + center).round(exact) + 0.0  # no -0
    return found


def labels(task: Table, inputs: np.ndarray) -> list[str]:
    """The first cells of each row."""
    columns = list(cells(task, inputs).values())
    more = ", …" if len(columns) > CELLS else ""
    return [", ".join(map(number_text, row)) + more for row in zip(*columns[:CELLS])]


def _example(task: Table, path: str, begin: int, end: int, asked: np.ndarray) -> Example:
    rows = task.rows(path)
    inputs = rows.inputs[begin:end].astype(np.float32)
    if task.predict == "class":
        return Example(inputs, [Question(n - begin, int(rows.answers[n])) for n in asked.tolist()])
    right = rows.origin + rows.answers * task.fitted.unit
    questions = [
        Question(n - begin, None if np.isnan(right[n]).all() else right[n], origin=rows.origin[n])
        for n in asked.tolist()
    ]
    columns = task.columns(path)
    spread = columns.numbers(path, columns.names.index(task.target)).std()
    return Example(inputs, questions, Scale(task.target, float(spread)))
