"""Training: from a configuration to a run directory that everything else can read."""

from ramgru.lab.train.build import (
    ModelConfig,
    RAMOptions,
    build_model,
    count_parameters,
)
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.run import load_run, newest_run
from ramgru.lab.train.start import Outcome, train

__all__ = [
    "ModelConfig",
    "Outcome",
    "RAMOptions",
    "TrainConfig",
    "build_model",
    "count_parameters",
    "load_run",
    "newest_run",
    "train",
]
