"""Pairs, noise and questions; distances from none to a million."""

import numpy as np

from ramgru.lab.tasks import IGNORE, Hold


def test_rows_are_pairs_then_noise_then_questions() -> None:
    task = Hold(vocab_size=40, pairs=3, distance=9, noise=8)
    batch = task.draw(300, 0)
    for tokens, labels, length in zip(batch.inputs, batch.labels, batch.lengths, strict=True):
        keys, values = tokens[0:6:2], tokens[1:6:2]
        assert len(set(keys)) == len(set(values)) == 3
        assert ((keys >= 1) & (keys < 16)).all()
        assert ((values >= 16) & (values < 32)).all()
        noise, asked = tokens[6 : length - 3], tokens[length - 3 : length]
        assert ((noise >= 32) & (noise < 40)).all()
        assert sorted(asked) == sorted(keys)
        memory = dict(zip(keys, values, strict=True))
        assert labels[length - 3 : length].tolist() == [memory[key] for key in asked]
        assert (labels != IGNORE).sum() == 3


def test_distances_tokens_and_orders_are_uniform() -> None:
    batch = Hold(vocab_size=14, pairs=2, min_distance=3, distance=7, noise=4).draw(5000, 0)
    away = np.bincount(batch.lengths - 6, minlength=8)
    assert away[:3].sum() == 0
    assert np.abs(away[3:] - 1000).max() < 4 * 1000**0.5
    noise = np.bincount(batch.inputs[:, 4:7].ravel(), minlength=14)
    assert noise[:10].sum() == 0
    assert np.abs(noise[10:] - 3750).max() < 4 * 3750**0.5
    keys = np.bincount(batch.inputs[:, 0], minlength=14)
    assert np.abs(keys[1:5] - 1250).max() < 4 * 1250**0.5
    values = np.bincount(batch.inputs[:, 1], minlength=14)
    assert np.abs(values[5:10] - 1000).max() < 4 * 1000**0.5
    first = batch.inputs[np.arange(5000), batch.lengths - 2] == batch.inputs[:, 0]
    assert abs(first.mean() - 0.5) < 4 * 0.5 / 5000**0.5


def test_no_distance_at_all() -> None:
    batch = Hold(distance=0).draw(4, 0)
    assert batch.inputs.shape == (4, 3)
    assert np.array_equal(batch.inputs[:, 0], batch.inputs[:, 2])
    assert np.array_equal(batch.labels[:, 2], batch.inputs[:, 1])
    assert batch.distance is not None
    assert batch.distance.tolist() == [[-1, -1, 1]] * 4
