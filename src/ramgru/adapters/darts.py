"""A RAM-GRU in darts' recurrent forecasters: `BlockRNNModel(model=Block)`, `RNNModel(model=…)`.

A subclass chooses other options, and can be saved and loaded by its name:

    class Mine(Block):
        options = {"memory": Memory(cells=256, heads="learned lag lag")}
"""

from __future__ import annotations

from typing import Any, ClassVar

from darts.models.forecasting.block_rnn_model import _BlockRNNModule
from darts.models.forecasting.rnn_model import _RNNModule

from ramgru.layer import RAMGRU


class _Options:
    options: ClassVar[dict[str, Any]] = {}  # keyword arguments of `RAMGRU`

    def _layer(self, **more: Any) -> RAMGRU:
        module: Any = self  # with the sizes that darts gave it
        return RAMGRU(
            module.input_size,
            module.hidden_dim,
            module.num_layers,
            batch_first=True,
            dropout=module.dropout,
            **{**more, **self.options},
        )


class Block(_Options, _BlockRNNModule):
    """For `BlockRNNModel`: the layer reads a window, and its last outputs give a block."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**{**sizes, "name": "GRU"})
        self.rnn = self._layer()


class Recurrent(_Options, _RNNModule):
    """For `RNNModel`: each forecast is the next input, and the memory goes on from step to step."""

    def __init__(self, **sizes: Any) -> None:
        super().__init__(**{**sizes, "name": "GRU"})
        self.rnn = self._layer(carry="state")
