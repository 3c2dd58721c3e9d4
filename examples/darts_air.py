"""darts: airline passengers a month, forecast by blocks or step by step.

The last year is forecast from all that came before it, with darts' scaler and without a calendar.
RAMGRU takes the place of the GRU in `BlockRNNModel`, which tells a year at once, and in `RNNModel`,
whose forecasts are its next inputs.

    python examples/darts_air.py                              # a year at once
    python examples/darts_air.py --way recurrent --layer gru  # step by step, by darts' own GRU
"""

from __future__ import annotations

from typing import Any, ClassVar

from air_passengers import PASSENGERS, YEAR
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler
from darts.models import BlockRNNModel, RNNModel
from forecasting import HELD, LAST, Budget, quiet, report_chance, scores
from training import command, parameters, recurrent

from ramgru import Memory
from ramgru.adapters.darts import Block, Recurrent

RATE, EPOCHS, WIDTH, WINDOW = 5e-3, 100, 24, 2 * YEAR
MEMORY = Memory(cells=64, heads="lag:24 lag:24", tag=0)


class SeasonBlock(Block):
    options: ClassVar = {"memory": MEMORY}


class SeasonRecurrent(Recurrent):
    options: ClassVar = {"memory": MEMORY}


def run(
    layer: str, rate: float = RATE, seed: int = 0, seconds: float | None = None, way: str = "direct"
) -> dict[str, float]:
    """Train and forecast."""
    budget, direct = Budget(seconds), way == "direct"
    shared = {
        "input_chunk_length": WINDOW,
        "hidden_dim": recurrent(layer, 1, WIDTH, MEMORY, outputs=YEAR if direct else 1).hidden_size,
        "n_rnn_layers": 1,
        "n_epochs": 10_000 if seconds else EPOCHS,
        "optimizer_kwargs": {"lr": rate},
        "random_state": seed,
        "pl_trainer_kwargs": quiet(budget),
    }
    if direct:
        kind: Any = SeasonBlock if layer == "ramgru" else layer.upper()
        model: Any = BlockRNNModel(model=kind, output_chunk_length=YEAR, **shared)
    else:
        kind = SeasonRecurrent if layer == "ramgru" else layer.upper()
        model = RNNModel(model=kind, training_length=WINDOW + YEAR, **shared)
    series, scaler = TimeSeries.from_values(PASSENGERS.numpy()), Scaler()
    scaler.fit(series[:HELD])
    scaled = scaler.transform(series)
    model.fit(scaled[:HELD])
    held, last = (
        scaler.inverse_transform(model.predict(YEAR, series=scaled[:origin])).values()
        for origin in (HELD, LAST)
    )
    return scores(held, last, budget, parameters(model.model))


if __name__ == "__main__":
    command(__doc__, run, RATE, way=("direct", "recurrent"))
    report_chance()
