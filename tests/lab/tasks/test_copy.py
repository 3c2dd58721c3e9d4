"""Flags, vectors and answers of the copy task, step by step."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, Copy


def test_one_example_step_by_step() -> None:
    batch = Copy(bits=3, min_length=2, length=2).draw(1, 1)
    (inputs,), (labels,) = batch.inputs, batch.labels
    assert inputs[0].tolist() == [0, 0, 0, 1, 0]
    assert inputs[3].tolist() == [0, 0, 0, 0, 1]
    assert (inputs[[1, 2], 3:] == 0).all()
    assert (inputs[4:] == 0).all()
    assert np.array_equal(labels[4:], inputs[1:3, :3])
    assert (labels[:4] == IGNORE).all()
    assert batch.distance is not None
    assert batch.distance.tolist() == [[-1, -1, -1, -1, 3, 3]]
    assert batch.lengths.tolist() == [6]


def test_lengths_and_bits_are_uniform() -> None:
    batch = Copy(length=5).draw(5000, 0)
    counts = np.bincount((batch.lengths - 2) // 2, minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5
    answers = batch.labels[batch.labels != IGNORE]
    assert abs(answers.mean() - 0.5) < 4 * 0.5 / answers.size**0.5


def test_grid_reaches_a_thousand_vectors() -> None:
    grid = Copy().grid()
    assert [entry.axes["length"] for entry in grid] == [5, 10, 20, 30, 50, 120, 200, 1000]
    batch = grid[-1].task.draw(2, 0)
    assert batch.inputs.shape == (2, 2002, 10)
    assert batch.lengths.tolist() == [2002, 2002]


def test_sizes() -> None:
    task = Copy(bits=6)
    assert (task.vocab_size, task.features, task.outputs, task.chance) == (0, 8, 6, 0.5)
    assert [stage.length for stage in Copy(length=18).curriculum()] == [5, 10, 18]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits must be at least 1, got 0"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"min_length": 21}, "min_length must be from 1 to 20, got 21"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Copy(**options)
