"""The layer in skorch needs no adapter: a module with it is one of sklearn's estimators."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch import Tensor, nn

pytest.importorskip("skorch")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import GridSearchCV  # noqa: E402
from skorch import NeuralNetClassifier  # noqa: E402

from ramgru import RAMGRU, Memory  # noqa: E402


class Classifier(nn.Module):
    """A linear head on the last h_n, as one writes it for nn.GRU."""

    def __init__(self, heads: str = "learned lag", width: int = 16) -> None:
        super().__init__()
        self.rnn = RAMGRU(4, width, batch_first=True, memory=Memory(cells=32, heads=heads))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][-1])


def first_symbols(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Series of one-hot symbols; the class is the first one."""
    symbols = np.random.default_rng(0).integers(4, size=(count, 6))
    return np.eye(4, dtype=np.float32)[symbols], symbols[:, 0]


def net(**options) -> NeuralNetClassifier:
    options = {"max_epochs": 20, "lr": 1e-2, "batch_size": 64, "verbose": 0, **options}
    return NeuralNetClassifier(
        Classifier, criterion=nn.CrossEntropyLoss, optimizer=torch.optim.Adam, **options
    )


def test_it_learns_and_is_pickled():
    x, y = first_symbols(256)
    fitted = net().fit(x, y)
    assert fitted.score(x, y) > 0.95
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_options_of_the_memory_are_searched():
    x, y = first_symbols(96)
    search = GridSearchCV(
        clone(net(max_epochs=1)), {"module__heads": ["lag", "key tape"]}, cv=2, refit=False
    )
    search.fit(x, y)
    assert len(search.cv_results_["mean_test_score"]) == 2
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
