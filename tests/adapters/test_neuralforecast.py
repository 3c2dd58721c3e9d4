"""The layer in neuralforecast: direct and recurrent forecasts, and models on disk."""

from __future__ import annotations

import numpy as np
import pytest
import torch

pytest.importorskip("neuralforecast")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from neuralforecast import NeuralForecast  # noqa: E402
from neuralforecast.utils import AirPassengersDF  # noqa: E402

from ramgru import RAMGRU as Layer  # noqa: E402
from ramgru import Memory  # noqa: E402
from ramgru.adapters.neuralforecast import RAMGRU  # noqa: E402

MEMORY = {"cells": 32, "heads": "learned lag"}
OPTIONS = {
    "h": 6,
    "input_size": 24,
    "encoder_hidden_size": 8,
    "max_steps": 5,
    "memory": MEMORY,
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "logger": False,
    "enable_model_summary": False,
}


@pytest.mark.parametrize("recurrent", [False, True], ids=["direct", "recurrent"])
def test_fit_predict_save_load(tmp_path, recurrent):
    forecaster = NeuralForecast([RAMGRU(recurrent=recurrent, **OPTIONS)], freq="ME")
    forecaster.fit(AirPassengersDF)
    encoder = forecaster.models[0].hist_encoder
    assert isinstance(encoder, Layer)
    assert encoder.memory == Memory(**MEMORY)
    found = forecaster.predict()["RAMGRU"].to_numpy()
    assert found.shape == (6,)
    assert np.isfinite(found).all()
    forecaster.save(str(tmp_path), overwrite=True, save_dataset=True)
    again = NeuralForecast.load(str(tmp_path)).predict()["RAMGRU"].to_numpy()
    np.testing.assert_allclose(again, found, rtol=1e-6)


@torch.no_grad()
def test_a_recurrent_forecast_carries_the_memory():
    model = RAMGRU(recurrent=True, **OPTIONS).eval()
    for memory in model.hist_encoder.memories:
        torch.nn.init.normal_(memory.read_out.weight)
    nothing = {name: torch.empty(3, 0) for name in ("futr_exog", "hist_exog", "stat_exog")}
    y = torch.randn(3, 9, 1)
    whole = model.proj(model.hist_encoder(y)[0])[:, -1]
    model.maintain_state = True
    for t in range(9):
        last = model({"insample_y": y[:, t : t + 1], **nothing})[:, -1]
    torch.testing.assert_close(last, whole)
