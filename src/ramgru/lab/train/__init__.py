"""Training: from a configuration to a run directory that all other commands read."""

from ramgru.lab.train.build import ModelConfig, build_model, count_parameters
from ramgru.lab.train.config import TrainConfig
from ramgru.lab.train.loop import Outcome, Watch, train
from ramgru.lab.train.run import load_run, newest_run

__all__ = [
    "ModelConfig",
    "Outcome",
    "TrainConfig",
    "Watch",
    "build_model",
    "count_parameters",
    "load_run",
    "newest_run",
    "train",
]
