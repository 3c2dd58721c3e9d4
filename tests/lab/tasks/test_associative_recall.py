"""Items, delimiters, query and answer, step by step."""

import numpy as np
import pytest

from ramgru.lab.tasks import IGNORE, AssociativeRecall, Batch, exact_answers

from .solvers import SOLVERS


def test_the_docstring_shows_a_true_example() -> None:
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


def test_one_example_step_by_step() -> None:
    batch = AssociativeRecall(bits=5, vectors=3, min_items=3, items=3).draw(1, 0)
    (inputs,), (labels,) = batch.inputs, batch.labels
    assert batch.lengths.tolist() == [20]
    assert np.flatnonzero(inputs[:, 5]).tolist() == [0, 4, 8]
    assert np.flatnonzero(inputs[:, 6]).tolist() == [12, 16]
    assert (inputs[[0, 4, 8, 12, 16], :5] == 0).all()
    assert (inputs[17:] == 0).all()
    items = [inputs[i + 1 : i + 4, :5] for i in (0, 4, 8)]
    (place,) = (i for i in range(3) if np.array_equal(items[i], inputs[13:16, :5]))
    assert place < 2
    assert np.array_equal(labels[17:], items[place + 1])
    assert (labels[:17] == IGNORE).all()
    assert batch.distance is not None
    assert batch.distance[0, 17:].tolist() == [17 - 4 * (place + 1) - 1] * 3


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


def test_grid_reaches_a_thousand_items() -> None:
    grid = AssociativeRecall().grid()
    sizes = [entry.axes["items"] for entry in grid]
    assert sizes == [2, 3, 4, 5, 6, 10, 15, 20, 50, 200, 1000]
    assert grid[-1].task.draw(2, 0).inputs.shape == (2, 4008, 8)
    few = [entry.axes["items"] for entry in AssociativeRecall(bits=2, vectors=2).grid()]
    assert few == [2, 3, 4, 5, 6, 10, 15]
    assert [task.items for task in AssociativeRecall().curriculum()] == [2, 4, 6]


def test_sizes() -> None:
    task = AssociativeRecall()
    assert (task.vocab_size, task.features, task.outputs, task.chance) == (0, 8, 6, 0.5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"bits": 0}, "bits must be at least 1, got 0"),
        ({"vectors": 0}, "vectors must be at least 1, got 0"),
        ({"items": 1}, "items must be at least 2, got 1"),
        ({"min_items": 7}, "min_items must be from 2 to 6, got 7"),
        ({"bits": 32, "vectors": 2}, r"bits \* vectors must be at most 62, got 64"),
        ({"bits": 1, "vectors": 2}, "items must be at most 4, .* bits=1 and vectors=2, got 6"),
    ],
)
def test_errors(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        AssociativeRecall(**options)
