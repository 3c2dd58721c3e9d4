"""What the model of a run on a table tells about the rows of a file, also of another one."""

from __future__ import annotations

import os
from itertools import pairwise

import numpy as np
import torch

from ramgru.lab.tasks import Table
from ramgru.lab.train.run import load_run

CHUNK = 1024  # steps in memory at a time; the state is carried on


@torch.no_grad()
def predict(
    run: str | os.PathLike[str],
    path: str | os.PathLike[str] | None = None,
    *,
    device: torch.device | str = "cpu",
) -> np.ndarray:
    """Read each series of a file from its first row on, and tell the answer at every row.

    run: directory of a run of `ramgru train --data TABLE`
    path: a file with the same columns; None: the file of the run
    -> (N, horizon) forecasts, (N, 1) values, in the file's own unit; or (N,) names of classes. N
    rows, in the file's order; with a column of series, series after series

    Raises CheckpointError if the run cannot be read, DataError if the file cannot, and ValueError
    for a run on another kind of data.
    """
    _, task, model = load_run(run, device)
    if not isinstance(task, Table):
        raise ValueError(f"run: expected a run on a table, got one on the task {task.name}")
    rows = task.rows(os.path.abspath(path or task.path))
    outputs = []
    for first, end in pairwise(rows.starts.tolist()):
        state = None
        for begin in range(first, end, CHUNK):
            part = rows.inputs[begin : min(begin + CHUNK, end)].astype(np.float32)
            x = torch.from_numpy(part).to(device)
            hidden, state = model.hidden(x.unsqueeze(0), state)
            outputs.append(model.head(hidden)[0].double().cpu().numpy())
    told = np.concatenate(outputs)
    if task.predict == "class":
        return np.array(task.fitted.classes)[told.argmax(-1)]
    return rows.origin + told * task.fitted.unit
