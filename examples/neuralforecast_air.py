"""neuralforecast: airline passengers a month, the last year forecast directly and recurrently."""

from __future__ import annotations

import numpy as np
from neuralforecast import NeuralForecast
from neuralforecast.utils import AirPassengersDF

from ramgru.adapters.neuralforecast import RAMGRU


def main(steps: int = 150) -> float:
    """Train; -> the smaller mean absolute error of the last 12 months, in thousand passengers."""
    known, last = AirPassengersDF.iloc[:-12], AirPassengersDF.iloc[-12:]
    shared = {
        "h": 12,
        "input_size": 36,
        "encoder_hidden_size": 32,
        "encoder_n_layers": 1,
        "max_steps": steps,
        "learning_rate": 5e-3,
        "scaler_type": "standard",
        "memory": {"cells": 64, "heads": "lag:36 lag:36"},
        "accelerator": "cpu",
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "logger": False,
    }
    models = [RAMGRU(**shared), RAMGRU(recurrent=True, alias="recurrent", **shared)]
    forecaster = NeuralForecast(models, freq="ME")
    forecaster.fit(known)
    told = forecaster.predict()
    found = {
        name: float(np.abs(told[name].to_numpy() - last["y"].to_numpy()).mean())
        for name in ("RAMGRU", "recurrent")
    }
    before = known["y"].to_numpy()[-12:]
    naive = float(np.abs(before - last["y"].to_numpy()).mean())
    for name, error in {**found, "the year before": naive}.items():
        print(f"{name}: mean absolute error {error:.1f}")
    return min(found.values())


if __name__ == "__main__":
    main()
