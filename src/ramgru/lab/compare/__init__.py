"""Comparing layers under one budget: runs side by side, one table, one report."""

from ramgru.lab.compare.compare import ReportConfig, compare, report
from ramgru.lab.compare.config import CompareConfig

__all__ = ["CompareConfig", "ReportConfig", "compare", "report"]
