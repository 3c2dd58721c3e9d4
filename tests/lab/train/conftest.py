"""Runs that are small enough to be made many times."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from ramgru.lab import tasks
from ramgru.lab.train import ModelConfig, TrainConfig

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
    """Bits depend on the number of threads; the caller's setting comes back."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., TrainConfig]:
    """A small configuration with some fields changed; runs go to tmp_path/run."""

    def make(**changes: Any) -> TrainConfig:
        return replace(SMALL, **{"out": tmp_path / "run", **changes})

    return make


@pytest.fixture
def command(tmp_path: Path) -> Callable[..., subprocess.Popen[str]]:
    """Start `python -m ramgru …` in tmp_path, as a user would, with pipes for its output."""
    started: list[subprocess.Popen[str]] = []

    def start(*args: str, module: tuple[str, ...] = ("ramgru",)) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *module, *args],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
