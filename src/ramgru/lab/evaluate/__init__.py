"""Evaluation: the score of a trained model at its training sizes and far beyond."""

from ramgru.lab.evaluate.capacity import bits_held, information, memory_capacity
from ramgru.lab.evaluate.evaluate import EvaluateConfig, evaluate
from ramgru.lab.evaluate.interval import wilson
from ramgru.lab.evaluate.predict import predict
from ramgru.lab.evaluate.sweep import Effort, Evaluation, Group, Row, measure_at, sweep

__all__ = [
    "Effort",
    "EvaluateConfig",
    "Evaluation",
    "Group",
    "Row",
    "bits_held",
    "evaluate",
    "information",
    "measure_at",
    "memory_capacity",
    "predict",
    "sweep",
    "wilson",
]
