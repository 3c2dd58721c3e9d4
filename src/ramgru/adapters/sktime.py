"""A RAM-GRU as a classifier of sktime, for series of one or several channels."""

from __future__ import annotations

from typing import Any

import numpy as np
from sktime.classification.deep_learning._pytorch import BaseDeepClassifierPytorch
from torch import Tensor, nn

from ramgru.config import Memory
from ramgru.layer import RAMGRU


class Network(nn.Module):
    """The layer, and a linear head on the output at the end of each series."""

    def __init__(self, layer: RAMGRU, classes: int) -> None:
        super().__init__()
        self.layer = layer
        self.head = nn.Linear(layer.output_size * layer.num_directions, classes)

    def forward(self, X: Tensor) -> Tensor:
        """X (B, T, channels) -> logits (B, classes)."""
        _, h_n = self.layer(X)
        return self.head(h_n[-self.layer.num_directions :].transpose(0, 1).flatten(1))


class RAMGRUClassifier(BaseDeepClassifierPytorch):
    """Series classification, with the arguments of sktime's `GRUClassifier` where both have them.

    memory: the values of `ramgru.Memory` that are not its defaults, as in {"heads": "learned lag"}
    controller: as in `ramgru.RAMGRU`
    """

    def __init__(
        self,
        hidden_dim: int = 64,
        n_layers: int = 1,
        bidirectional: bool = False,
        memory: dict[str, Any] | None = None,
        controller: str = "gru",
        num_epochs: int = 10,
        batch_size: int = 8,
        optimizer: Any = None,
        criterion: Any = None,
        criterion_kwargs: dict[str, Any] | None = None,
        optimizer_kwargs: dict[str, Any] | None = None,
        lr: float = 0.001,
        verbose: bool = False,
        random_state: int | None = None,
    ) -> None:
        # An estimator keeps its arguments as they are: sklearn's clone compares them.
        self.hidden_dim, self.n_layers, self.bidirectional = hidden_dim, n_layers, bidirectional
        self.memory, self.controller = memory, controller
        super().__init__(
            num_epochs=num_epochs,
            batch_size=batch_size,
            optimizer=optimizer,
            criterion=criterion,
            criterion_kwargs=criterion_kwargs,
            optimizer_kwargs=optimizer_kwargs,
            lr=lr,
            verbose=verbose,
            random_state=random_state,
        )
        self.criterions: dict[str, Any] = {}

    def _build_network(self, X: np.ndarray, y: np.ndarray) -> Network:
        layer = RAMGRU(
            X.shape[1],
            self.hidden_dim,
            self.n_layers,
            batch_first=True,
            bidirectional=self.bidirectional,
            memory=Memory(**(self.memory or {})),
            controller=self.controller,
        )
        return Network(layer, len(np.unique(y)))

    @classmethod
    def get_test_params(cls, parameter_set: str = "default") -> list[dict[str, Any]]:
        """Arguments with which sktime's own checks of an estimator take seconds."""
        small = {"hidden_dim": 8, "num_epochs": 1, "memory": {"cells": 16}, "random_state": 0}
        return [small, {**small, "bidirectional": True, "n_layers": 2}]
