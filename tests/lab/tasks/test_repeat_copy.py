"""Flags, the number's channel, copies and mark of repeat copy, step by step."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, RepeatCopy


def test_one_example_step_by_step() -> None:
    task = RepeatCopy(bits=3, min_length=2, length=2, min_repeats=3, repeats=3)
    batch = task.draw(1, 0)
    (inputs,), (labels,) = batch.inputs, batch.labels
    assert batch.lengths.tolist() == [11]
    assert inputs[0].tolist() == [0, 0, 0, 1, 0, 0]
    assert inputs[3, :5].tolist() == [0, 0, 0, 0, 1]
    assert inputs[3, 5] == np.float32((3 - 5.5) / 8.25**0.5)
    assert (inputs[[1, 2], 3:] == 0).all()
    assert (inputs[4:] == 0).all()
    assert np.array_equal(labels[4:10, :3], np.tile(inputs[1:3, :3], (3, 1)))
    assert (labels[4:10, 3] == 0).all()
    assert labels[10].tolist() == [0, 0, 0, 1]
    assert (labels[:4] == IGNORE).all()
    assert batch.distance is not None
    assert batch.distance[0, 4:].tolist() == [3, 3, 5, 5, 7, 7, 7]
    assert batch.kind is not None
    assert batch.kind[0, 4:].tolist() == [0, 0, 0, 0, 0, 0, 1]


def test_distance_of_a_copy_leads_to_its_vector_and_of_the_mark_to_the_number() -> None:
    task = RepeatCopy()
    batch = task.draw(50, 0)
    assert batch.distance is not None
    row, step = np.nonzero(batch.kind == task.kinds.index("copy"))
    shown = batch.inputs[row, step - batch.distance[row, step], :8]
    assert np.array_equal(shown, batch.labels[row, step, :8])
    row, step = np.nonzero(batch.kind == task.kinds.index("mark"))
    assert row.tolist() == [*range(50)]
    assert (batch.inputs[row, step - batch.distance[row, step], -1] != 0).all()


def test_lengths_and_repeats_are_uniform_and_the_number_is_standardized() -> None:
    batch = RepeatCopy().draw(20_000, 0)
    row, end = np.nonzero(batch.inputs[..., -2] == 1)
    number = batch.inputs[row, end, -1]
    repeats = np.rint(5.5 + number * 8.25**0.5).astype(int)
    for counts in (np.bincount(repeats)[1:], np.bincount(end - 1)[1:]):
        assert counts.size == 10
        assert np.abs(counts - 2000).max() < 4 * 2000**0.5
    assert abs(number.mean()) < 4 / 20_000**0.5
    assert abs(number.std() - 1) < 0.02


def test_chance_is_the_score_of_zeros() -> None:
    for task in (RepeatCopy(), RepeatCopy(bits=3, min_length=2, length=4, repeats=2)):
        labels = task.draw(5000, 0).labels
        assert abs((labels[labels != IGNORE] == 0).mean() - task.chance) < 0.005


def test_sizes() -> None:
    task = RepeatCopy(bits=6)
    assert (task.vocab_size, task.features, task.outputs) == (0, 9, 7)
    assert [tuple(p.axes.values()) for p in task.grid()] == [
        (5, 5),
        (10, 10),
        (10, 20),
        (20, 10),
        (20, 20),
        (40, 40),
        (100, 100),
    ]
    assert (task.grid()[-2].task.draw(3, 0).lengths == 40 + 3 + 40 * 40).all()
    stages = RepeatCopy(length=9, repeats=3).curriculum()
    assert [(t.length, t.repeats) for t in stages] == [(2, 2), (4, 3), (8, 3), (9, 3)]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits must be at least 1, got 0"),
        ({"length": 0}, "length must be at least 1, got 0"),
        ({"min_repeats": 11}, "min_repeats must be from 1 to 10, got 11"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        RepeatCopy(**options)
