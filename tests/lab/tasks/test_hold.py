"""Pairs, noise and questions; distances from none to a million."""

import numpy as np

from ramgru.lab.tasks import Hold


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
