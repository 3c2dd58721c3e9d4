"""Comparing layers under one budget: runs side by side, one table, one report."""

from ramgru.study.compare import ReportConfig, compare, report
from ramgru.study.config import CompareConfig

__all__ = ["CompareConfig", "ReportConfig", "compare", "report"]
