"""A comparison as tidy data, one line a run and slice, in CSV and Parquet."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from typing import Any

from ramgru import files
from ramgru.lab.compare.results import Comparison

ABOUT = (
    *("task", "run", "layer", "seed", "lr", "parameters", "state_bytes"),
    *("steps", "seconds", "step_us", "train_us", "touched_bytes", "bits", "bits_per_state_byte"),
)
MEASURED = ("score", "count", "low", "high", "chance", "plateau")


def columns(comparison: Comparison) -> dict[str, list[Any]]:
    """{name: a value for each run and slice}: the run, the axes of all tasks (None for an axis that
    the task lacks), and the measurements."""
    runs = [run for task in comparison.tasks for run in task.runs]
    axes = list(dict.fromkeys(axis for run in runs for row in run.rows for axis in row.axes))
    table: dict[str, list[Any]] = {name: [] for name in (*ABOUT, *axes, *MEASURED)}
    for run in runs:
        for row in run.rows:
            for name in ABOUT:
                table[name].append(run.name if name == "run" else getattr(run, name))
            for axis in axes:
                table[axis].append(row.axes.get(axis))
            for name in MEASURED:
                table[name].append(getattr(row, name))
    return table


def to_csv(comparison: Comparison) -> str:
    table = columns(comparison)
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(table)
    lines.writerows(zip(*table.values(), strict=True))
    return text.getvalue()


def write_parquet(comparison: Comparison, path: Path) -> None:
    """The same as Parquet beside `path`, if pyarrow is installed."""
    if importlib.util.find_spec("pyarrow") is None:
        return
    import pyarrow
    import pyarrow.parquet

    text = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table(columns(comparison)), text)
    files.write(path.with_suffix(".parquet"), text.getvalue().to_pybytes())
