"""Keys, noise, distractors and the scale of a step; the order of the questions."""

import numpy as np
import pytest

from ramgru.lab.tasks import FeatureRecall


def test_keys_noise_and_distractors_are_normal() -> None:
    task = FeatureRecall(min_pairs=4, pairs=4, noise=0.5, distractors=3)
    batch = task.draw(2000, 0)
    keys, asked = batch.inputs[:, :4, :16], batch.inputs[:, 4:, :16]
    assert batch.distance is not None
    order = np.arange(4, 8) - batch.distance[:, 4:]
    added = asked - np.take_along_axis(keys, order[..., None], axis=1)
    for numbers, deviation in ((keys, 1.0), (added, 0.5), (batch.inputs[..., -3:], 1.0)):
        assert abs(numbers.mean()) < 4 * deviation / numbers.size**0.5
        assert abs(numbers.std() - deviation) < 4 * deviation / (2 * numbers.size) ** 0.5
    first = np.bincount(order[:, 0], minlength=4)
    assert np.abs(first - 500).max() < 4 * 500**0.5
    values = np.bincount(batch.labels[:, 4:].ravel(), minlength=32)
    assert np.abs(values - 250).max() < 4 * 250**0.5


def test_pairs_are_uniform_and_padding_is_empty() -> None:
    batch = FeatureRecall(min_pairs=2, pairs=5).draw(4000, 0)
    pairs = np.bincount(batch.lengths // 2, minlength=6)
    assert pairs[:2].sum() == 0
    assert np.abs(pairs[2:] - 1000).max() < 4 * 1000**0.5


@pytest.mark.parametrize("one_hot", [0, 8])
def test_scale_multiplies_every_feature(one_hot: int) -> None:
    task = FeatureRecall(pairs=6, one_hot=one_hot)
    plain, scaled = task.draw(5, 0), task.resized(scale=0.25).draw(5, 0)
    assert np.array_equal(scaled.inputs, plain.inputs / 4)
    assert np.array_equal(scaled.labels, plain.labels)


def test_one_hot_keys_are_different() -> None:
    batch = FeatureRecall(min_pairs=8, pairs=8, one_hot=8, noise=0.0).draw(50, 0)
    for keys in (batch.inputs[:, :8, :8], batch.inputs[:, 8:, :8]):
        assert (keys.sum(axis=2) == 1).all()
        assert (keys.sum(axis=1) == 1).all()
