"""darts: a series with a season and a trend, forecast by blocks and step by step."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler
from darts.metrics import mae
from darts.models import BlockRNNModel, RNNModel

from ramgru import Memory
from ramgru.adapters.darts import Block, Recurrent

MEMORY = Memory(cells=64, heads="lag:24 lag:24")


class SeasonBlock(Block):
    options: ClassVar = {"memory": MEMORY}


class SeasonRecurrent(Recurrent):
    options: ClassVar = {"memory": MEMORY}


def main(steps: int = 30) -> float:
    """Train for so many epochs; -> the smaller mean absolute error of the last 12 values."""
    t = np.arange(144)
    shape = np.random.default_rng(0).standard_normal(12)  # any season of 12 steps
    values = (0.02 * t + shape[t % 12]).astype(np.float32)
    known, last = TimeSeries.from_values(values).split_before(132)
    scaler = Scaler()
    scaled = scaler.fit_transform(known)
    quiet = {
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "enable_checkpointing": False,
        "logger": False,
    }
    shared = {
        "input_chunk_length": 24,
        "hidden_dim": 24,
        "n_rnn_layers": 1,
        "n_epochs": steps,
        "optimizer_kwargs": {"lr": 5e-3},
        "random_state": 0,
        "pl_trainer_kwargs": quiet,
    }
    models = {
        "block": BlockRNNModel(model=SeasonBlock, output_chunk_length=12, **shared),
        "recurrent": RNNModel(model=SeasonRecurrent, training_length=36, **shared),
    }
    errors = {}
    for name, model in models.items():
        model.fit(scaled)
        errors[name] = float(mae(last, scaler.inverse_transform(model.predict(12))))
        print(f"{name}: mean absolute error {errors[name]:.3f}")
    spread = float(np.abs(values[132:] - values[:132].mean()).mean())
    print(f"the mean of the past: {spread:.3f}")
    return min(errors.values())


if __name__ == "__main__":
    main()
