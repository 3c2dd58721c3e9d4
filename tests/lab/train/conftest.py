"""Small runs."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, TrainConfig
from ramgru.lab.train.loop import Trainer

SMALL = TrainConfig(
    task=tasks.get("mqar", vocab_size=16, pairs=2, length=8),
    model=ModelConfig(layer="gru", d_model=8, num_layers=1, dropout=0.1),
    batch_size=8,
    steps=12,
    steps_per_epoch=4,
    evaluate_examples=16,
    warmup=2,
    log_every=1,
    curriculum=False,
)


@pytest.fixture(autouse=True)
def _one_thread():
    """Bits depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., TrainConfig]:
    """A small configuration with some fields changed, for the run directory tmp_path/run."""

    def make(**changes: Any) -> TrainConfig:
        return replace(SMALL, **{"out": tmp_path / "run", **changes})

    return make


@pytest.fixture
def interrupt_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Arrange that this process receives a signal at the end of a run's step `step`."""
    once = Trainer._one_step

    def arrange(step: int, number: int = signal.SIGINT) -> None:
        def interrupted(self: Trainer) -> None:
            once(self)
            if self.step == step:
                signal.raise_signal(number)

        monkeypatch.setattr(Trainer, "_one_step", interrupted)

    return arrange
