"""Whole answers: an answer of several tokens is right when every token of it is."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ramgru.lab.tasks.base import IGNORE, Batch


@dataclass(frozen=True)
class ExactAnswers:
    """One entry an answer, in the order of rows and steps. A answers.

    right:    (A,) bool
    row:      (A,) int64, the example
    start:    (A,) int64, the answer's first step
    count:    (A,) int64, its steps
    distance: (A,) int64 or None, as in Batch, at its first step
    kind:     (A,) int64 or None, likewise
    """

    right: np.ndarray
    row: np.ndarray
    start: np.ndarray
    count: np.ndarray
    distance: np.ndarray | None
    kind: np.ndarray | None


def exact_answers(batch: Batch, predicted: np.ndarray) -> ExactAnswers:
    """Joins steps that follow each other and are asked into answers, and checks each.

    predicted: of the labels' shape, tokens or bits; what stands where nothing is asked is not
    looked at. Raises ValueError for another shape.
    """
    if predicted.shape != batch.labels.shape:
        raise ValueError(
            f"predicted must be of the labels' shape {batch.labels.shape}, got {predicted.shape}"
        )
    right = (predicted == batch.labels) | (batch.labels == IGNORE)
    asked = batch.labels != IGNORE
    if asked.ndim == 3:  # a step over features is right when all its bits are
        right, asked = right.all(axis=2), asked.any(axis=2)
    before = np.zeros_like(asked)
    before[:, 1:] = asked[:, :-1]
    row, start = np.nonzero(asked & ~before)
    flat = np.flatnonzero(asked)
    number = np.cumsum((asked & ~before).ravel())[flat] - 1  # (steps asked,) which answer
    count = np.bincount(number, minlength=row.size)
    wrong = np.bincount(number, weights=~right.ravel()[flat], minlength=row.size)
    return ExactAnswers(
        right=wrong == 0,
        row=row,
        start=start,
        count=count,
        distance=None if batch.distance is None else batch.distance[row, start],
        kind=None if batch.kind is None else batch.kind[row, start],
    )
