"""The examples over characters that a task's docstring shows."""

from __future__ import annotations

import re

import numpy as np

from ramgru.lab.tasks import IGNORE, Batch, Task

from .lookup_solvers import ASCII


def examples(task: Task) -> list[Batch]:
    """Each pair of rows `inputs` and `labels`, '_' for a blank, '¶' for the mark."""
    rows = re.findall(r"^ +(?:inputs|labels) ((?:  ?\S)+)", task.__doc__ or "", re.MULTILINE)
    made = []
    for shown, asked in zip(rows[::2], rows[1::2], strict=True):
        inputs = [(ASCII + "¶").index(c.replace("_", " ")) for c in shown.split()]
        labels = [IGNORE if c == "." else ASCII.index(c) for c in asked.split()]
        batch = Batch(np.array([inputs]), np.array([labels]), np.array([len(inputs)]))
        assert batch.inputs.shape == batch.labels.shape
        made.append(batch)
    return made
