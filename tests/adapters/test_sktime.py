"""The classifier in sktime: it learns, is cloned and comes back from disk as any of its own."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sktime")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from sklearn.base import clone  # noqa: E402
from sktime.base import load  # noqa: E402

from ramgru.adapters.sktime import RAMGRUClassifier  # noqa: E402


def series() -> tuple[np.ndarray, np.ndarray]:
    """Series of two channels; the class says whether the first channel rises or falls."""
    rng = np.random.default_rng(0)
    kinds = np.array(["falls", "rises"])[np.arange(40) % 2]
    slope = np.where(kinds == "rises", 1, -1)[:, None, None] * np.array([[1], [0]])
    x = slope * np.linspace(-1, 1, 8) + 0.3 * rng.standard_normal((40, 2, 8))
    return x, kinds


def test_it_learns_and_comes_back_from_disk(tmp_path):
    x, y = series()
    classifier = RAMGRUClassifier(
        hidden_dim=16, num_epochs=10, lr=1e-2, memory={"cells": 32}, random_state=0
    )
    classifier.fit(x[:30], y[:30])
    found = classifier.predict(x)
    assert np.mean(found == y) > 0.9
    classifier.save(str(tmp_path / "model"))
    np.testing.assert_array_equal(load(str(tmp_path / "model")).predict(x), found)


@pytest.mark.parametrize("options", RAMGRUClassifier.get_test_params(), ids=["one", "two_ways"])
def test_clones_and_parameters(options):
    classifier = RAMGRUClassifier(**options)
    assert clone(classifier).get_params() == classifier.get_params()
    x, y = series()
    assert classifier.fit(x, y).predict_proba(x).shape == (len(x), 2)
