"""Studying what makes a memory efficient: gates, number of cells, structure (extra `study`)."""

from ramgru.study.levers.config import StudyConfig
from ramgru.study.levers.study import report, study

__all__ = ["StudyConfig", "report", "study"]
