"""neuralforecast: airline passengers a month, a year at once or recurrently.

The last year is forecast from all that came before it, with the library's scaler and without a
calendar. RAMGRU takes the place of the library's GRU.

    python examples/neuralforecast_air.py                              # a year at once
    python examples/neuralforecast_air.py --way recurrent --layer gru  # step by step, by its GRU
"""

from __future__ import annotations

from typing import Any

from air_passengers import YEAR
from forecasting import HELD, LAST, Budget, quiet, report_chance, scores
from neuralforecast import NeuralForecast
from neuralforecast.models import GRU, LSTM
from neuralforecast.utils import AirPassengersDF
from training import as_large, command, parameters

from ramgru.adapters.neuralforecast import RAMGRU

RATE, STEPS, WIDTH, WINDOW = 5e-3, 150, 32, 3 * YEAR
MEMORY = {"cells": 64, "heads": "lag:36 lag:36", "tag": 0}
KINDS = {"ramgru": RAMGRU, "gru": GRU, "lstm": LSTM}


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None, way: str = "direct"
) -> dict[str, float]:
    """Train and forecast."""

    def made(kind: str, width: int) -> Any:
        return KINDS[kind](
            h=YEAR,
            input_size=WINDOW,
            encoder_hidden_size=width,
            encoder_n_layers=1,
            max_steps=100_000 if seconds else STEPS,
            learning_rate=rate,
            scaler_type="standard",
            recurrent=way == "recurrent",
            random_seed=seed,
            alias="told",
            **({"memory": MEMORY} if kind == "ramgru" else {}),
            **quiet(Budget(seconds)),
        )

    model = made("ramgru", WIDTH)
    if layer != "ramgru":  # the library's own, with as many parameters
        model = as_large(parameters(model), lambda width: made(layer, width), parameters, least=2)
    forecaster = NeuralForecast([model], freq="ME")
    forecaster.fit(AirPassengersDF.iloc[:HELD])
    held, last = (
        forecaster.predict(AirPassengersDF.iloc[:origin])["told"].to_numpy()
        for origin in (HELD, LAST)
    )
    trained = forecaster.models[0]  # a copy, with a budget of its own
    (budget,) = (each for each in trained.trainer_kwargs["callbacks"] if isinstance(each, Budget))
    return scores(held, last, budget, parameters(trained))


if __name__ == "__main__":
    command(__doc__, run, RATE, way=("direct", "recurrent"))
    report_chance()
