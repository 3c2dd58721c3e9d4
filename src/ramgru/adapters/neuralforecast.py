"""A RAM-GRU among neuralforecast's models: its `GRU`, with another encoder."""

from __future__ import annotations

from typing import Any

from neuralforecast.core import MODEL_FILENAME_DICT
from neuralforecast.models import GRU

from ramgru import layer
from ramgru.config import Memory


class RAMGRU(GRU):
    """Arguments as in `neuralforecast.models.GRU`, whose encoder this layer replaces.

    memory: the values of `ramgru.Memory` that are not its defaults, as in {"heads": "learned lag"}
    controller: as in `ramgru.RAMGRU`

    With recurrent=True, the memory goes on from step to step of a forecast.
    """

    def __init__(
        self,
        h: int,
        input_size: int = -1,
        memory: dict[str, Any] | None = None,
        controller: str = "gru",
        **options: Any,
    ) -> None:
        super().__init__(h=h, input_size=input_size, **options)
        gru: Any = self.hist_encoder
        self.hist_encoder: Any = layer.RAMGRU(
            gru.input_size,
            gru.hidden_size,
            gru.num_layers,
            gru.bias,
            batch_first=True,
            dropout=gru.dropout,
            memory=Memory(**(memory or {})),
            controller=controller,
            carry="state" if self.RECURRENT else "hidden",
        )


MODEL_FILENAME_DICT[RAMGRU.__name__.lower()] = RAMGRU  # so that `NeuralForecast.load` finds it
