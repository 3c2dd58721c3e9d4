"""skorch: the layer in a module is one of sklearn's estimators. No adapter is needed.

Series of 24 noisy numbers; the class is whether the 6th is positive. `GridSearchCV` chooses heads.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.model_selection import GridSearchCV
from skorch import NeuralNetClassifier
from torch import Tensor, nn

from ramgru import RAMGRU, Memory


class Classifier(nn.Module):
    """A linear head on the last h_n."""

    def __init__(self, heads: str = "lag:32 lag:32") -> None:
        super().__init__()
        memory = Memory(cells=64, heads=heads)
        self.rnn = RAMGRU(1, 24, batch_first=True, memory=memory)
        self.head = nn.Linear(24, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[1][-1])


def main(steps: int = 12) -> float:
    """Search and test, for so many epochs; -> the share of right classes of unseen series."""
    torch.manual_seed(0)
    x = np.random.default_rng(0).standard_normal((1200, 24, 1), dtype=np.float32)
    y = (x[:, 5, 0] > 0).astype(np.int64)
    net = NeuralNetClassifier(
        Classifier,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        lr=1e-2,
        max_epochs=steps,
        batch_size=64,
        verbose=0,
    )
    search = GridSearchCV(net, {"module__heads": ["lag:32 lag:32", "key key"]}, cv=2)
    search.fit(x[:800], y[:800])
    score = float(search.score(x[800:], y[800:]))
    print(f"best heads: {search.best_params_['module__heads']}; {score:.0%} right (a guess: 50 %)")
    return score


if __name__ == "__main__":
    main()
