"""sktime: the layer tells standing, walking, running and badminton by six sensors of a watch.

The data set, BasicMotions, is one that sktime ships.
"""

from __future__ import annotations

import numpy as np
from sktime.datasets import load_basic_motions

from ramgru.adapters.sktime import RAMGRUClassifier


def main(steps: int = 8) -> float:
    """Fit for so many epochs; -> the share of right classes of unseen series."""
    x, y = load_basic_motions(split="train", return_X_y=True, return_type="numpy3D")
    unseen, expected = load_basic_motions(split="test", return_X_y=True, return_type="numpy3D")
    classifier = RAMGRUClassifier(
        hidden_dim=24,
        num_epochs=steps,
        lr=1e-2,
        memory={"cells": 64, "heads": "learned lag"},
        random_state=0,
    )
    score = float(np.mean(classifier.fit(x, y).predict(unseen) == expected))
    print(f"{score:.0%} of {len(unseen)} series are classified right (a guess: 25 %)")
    return score


if __name__ == "__main__":
    main()
