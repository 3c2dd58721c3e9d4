"""Evaluating: what a trained model can do, at the sizes it was trained on and far beyond."""

from ramgru.lab.evaluate.evaluate import EvaluateConfig, evaluate
from ramgru.lab.evaluate.interval import wilson
from ramgru.lab.evaluate.sweep import Effort, Evaluation, Group, Row, measure_at, sweep

__all__ = [
    "Effort",
    "EvaluateConfig",
    "Evaluation",
    "Group",
    "Row",
    "evaluate",
    "measure_at",
    "sweep",
    "wilson",
]
