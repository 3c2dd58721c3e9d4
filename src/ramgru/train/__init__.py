"""Training: from a configuration to a run directory that everything else can read."""

from ramgru.train.build import (
    ModelConfig,
    RAMOptions,
    build_model,
    count_parameters,
)
from ramgru.train.config import TrainConfig
from ramgru.train.run import load_run, newest_run
from ramgru.train.start import Outcome, train

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
