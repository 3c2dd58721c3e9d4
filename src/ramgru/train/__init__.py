"""Training: from a configuration to a run directory that everything else can read."""

from ramgru.train.build import ModelConfig, RAMOptions, build_model, count_parameters
from ramgru.train.config import TrainConfig

__all__ = ["ModelConfig", "RAMOptions", "TrainConfig", "build_model", "count_parameters"]
