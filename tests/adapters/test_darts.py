"""The layer in darts: forecasts, the state of a recurrent forecast, models on disk."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest
import torch

pytest.importorskip("darts")
pytestmark = [pytest.mark.integrations, pytest.mark.filterwarnings("ignore")]

from darts import TimeSeries  # noqa: E402
from darts.models import BlockRNNModel, RNNModel  # noqa: E402

from ramgru import RAMGRU, Memory  # noqa: E402
from ramgru.adapters.darts import Block, Recurrent  # noqa: E402

QUIET = {
    "accelerator": "cpu",
    "enable_progress_bar": False,
    "enable_model_summary": False,
    "enable_checkpointing": False,
    "logger": False,
}
MEMORY = Memory(cells=32, heads="learned lag tape")
OPTIONS = {
    "input_chunk_length": 12,
    "hidden_dim": 8,
    "n_rnn_layers": 2,
    "n_epochs": 2,
    "batch_size": 8,
    "random_state": 0,
    "pl_trainer_kwargs": QUIET,
}


class SmallBlock(Block):
    options: ClassVar = {"memory": MEMORY}


class SmallRecurrent(Recurrent):
    options: ClassVar = {"memory": MEMORY}


def series() -> TimeSeries:
    t = np.arange(60)
    return TimeSeries.from_values(np.sin(t * 2 * np.pi / 12).astype(np.float32))


def test_block_forecasts_and_comes_back_from_disk(tmp_path):
    model = BlockRNNModel(model=SmallBlock, output_chunk_length=6, **OPTIONS)
    model.fit(series())
    assert isinstance(model.model.rnn, RAMGRU)
    assert model.model.rnn.memory == MEMORY
    forecast = model.predict(6)
    assert forecast.values().shape == (6, 1)
    model.save(str(tmp_path / "model.pt"))
    loaded = BlockRNNModel.load(str(tmp_path / "model.pt"), trusted=True)
    np.testing.assert_array_equal(loaded.predict(6).values(), forecast.values())


@torch.no_grad()
def test_recurrent_forecast_carries_the_memory():
    """Each value is that of one pass over the window and all forecasts before it."""
    model = RNNModel(model=SmallRecurrent, training_length=20, **OPTIONS)
    model.fit(series())
    found = model.predict(5).values()[:, 0]
    module = model.model.eval()
    torch.nn.init.normal_(module.rnn.memories[0].read_out.weight)  # a memory that counts
    found = model.predict(5).values()[:, 0]
    read = series().values()[-12:, 0].tolist()
    for value in found:
        x = torch.tensor(read, dtype=torch.float32).reshape(1, -1, 1)
        expected = float(module.V(module.rnn(x)[0])[0, -1])
        assert value == pytest.approx(expected, abs=1e-5)
        read.append(value)


def test_default_memory_trains():
    model = BlockRNNModel(model=Block, output_chunk_length=3, **{**OPTIONS, "n_epochs": 1})
    model.fit(series())
    assert model.model.rnn.memory == Memory()
    assert np.isfinite(model.predict(3).values()).all()
