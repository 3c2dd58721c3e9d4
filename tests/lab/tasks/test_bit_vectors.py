"""The tasks over bit vectors, step by step: flags, vectors, numbers, priorities, answers."""

import numpy as np

from ramgru.lab.tasks import (
    IGNORE,
    AssociativeRecall,
    Batch,
    Copy,
    PrioritySort,
    RepeatCopy,
    exact_answers,
)

from .solvers import SOLVERS


def test_copy_is_uniform() -> None:
    batch = Copy(length=5).draw(5000, 0)
    counts = np.bincount((batch.lengths - 2) // 2, minlength=6)
    assert counts[0] == 0
    assert np.abs(counts[1:] - 1000).max() < 4 * 1000**0.5
    answers = batch.labels[batch.labels != IGNORE]
    assert abs(answers.mean() - 0.5) < 4 * 0.5 / answers.size**0.5


def test_copy_of_a_thousand_vectors() -> None:
    grid = Copy().grid()
    assert [entry.axes["length"] for entry in grid] == [5, 10, 20, 30, 50, 120, 200, 1000]
    batch = grid[-1].task.draw(2, 0)
    assert batch.inputs.shape == (2, 2002, 10)
    assert batch.lengths.tolist() == [2002, 2002]


def test_repeat_copy_step_by_step() -> None:
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
    batch = RepeatCopy().draw(6000, 0)
    row, end = np.nonzero(batch.inputs[..., -2] == 1)
    number = batch.inputs[row, end, -1]
    repeats = np.rint(5.5 + number * 8.25**0.5).astype(int)
    for counts in (np.bincount(repeats)[1:], np.bincount(end - 1)[1:]):
        assert counts.size == 10
        assert np.abs(counts - 600).max() < 4 * 600**0.5
    assert abs(number.mean()) < 4 / 6000**0.5
    assert abs(number.std() - 1) < 0.02


def test_chance_is_the_score_of_zeros() -> None:
    for task in (RepeatCopy(), RepeatCopy(bits=3, min_length=2, length=4, repeats=2)):
        labels = task.draw(5000, 0).labels
        assert abs((labels[labels != IGNORE] == 0).mean() - task.chance) < 0.005


def test_answers_are_the_vectors_of_highest_priority() -> None:
    batch = PrioritySort(bits=4, vectors=6, top=4).draw(100, 0)
    assert batch.inputs.shape == (100, 12, 7)
    for steps, labels in zip(batch.inputs, batch.labels, strict=True):
        assert steps[0].tolist() == [0, 0, 0, 0, 0, 1, 0]
        assert steps[7].tolist() == [0, 0, 0, 0, 0, 0, 1]
        assert (steps[8:] == 0).all()
        order = np.argsort(steps[1:7, 4])[::-1]
        assert np.array_equal(labels[8:], steps[1 + order[:4], :4])
        assert (labels[:8] == IGNORE).all()


def test_priorities_are_uniform_and_never_equal() -> None:
    batch = PrioritySort(vectors=5000, top=1).draw(20, 0)
    priority = batch.inputs[:, 1:5001, 8]
    assert all(np.unique(row).size == 5000 for row in priority)
    assert priority.min() >= -1
    assert priority.max() <= 1
    counts = np.histogram(priority, bins=10, range=(-1, 1))[0]
    assert np.abs(counts - 10_000).max() < 4 * 10_000**0.5


def test_the_docstring_of_associative_recall_shows_a_true_example() -> None:
    lines = [line.split() for line in (AssociativeRecall.__doc__ or "").splitlines()]
    channels = [line for line in lines if line[:1] in (["bit"], ["item"], ["query"])]
    start = {"bit": 2, "item": 1, "query": 1}
    rows = [line[start[line[0]] :][:15] for line in channels]
    inputs = np.array(rows, dtype=np.float32).T[None]
    answers = [line[-15:] for line in channels[:2]]
    labels = np.array([[IGNORE if t == "." else int(t) for t in row] for row in answers]).T[None]
    batch = Batch(inputs, labels, np.array([15]))
    task = AssociativeRecall(bits=2, vectors=2, items=3)
    assert inputs.shape == (1, 15, task.features)
    found = exact_answers(batch, SOLVERS["associative_recall"](task, batch))
    assert found.right.tolist() == [True]
    assert found.count.tolist() == [2]


def test_items_of_an_example_are_different() -> None:
    batch = AssociativeRecall(bits=2, vectors=1, min_items=4, items=4).draw(200, 0)
    for steps in batch.inputs:
        assert len({tuple(steps[i, :2]) for i in (1, 3, 5, 7)}) == 4


def test_numbers_of_items_queries_and_bits_are_uniform() -> None:
    batch = AssociativeRecall(items=5).draw(4000, 0)
    count = np.bincount(batch.lengths // 4 - 2, minlength=6)
    assert count[:2].tolist() == [0, 0]
    assert np.abs(count[2:] - 1000).max() < 4 * 1000**0.5
    bits = batch.labels[batch.labels != IGNORE]
    assert abs(bits.mean() - 0.5) < 4 * 0.5 / bits.size**0.5

    batch = AssociativeRecall(min_items=5, items=5).draw(4000, 0)
    assert batch.distance is not None
    asked = np.bincount(batch.distance.max(axis=1) // 4, minlength=5)
    assert np.abs(asked[asked > 0] - 1000).max() < 4 * 1000**0.5
    assert (asked > 0).sum() == 4
