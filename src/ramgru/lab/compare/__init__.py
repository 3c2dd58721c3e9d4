"""Comparing layers with one budget: runs, tables and a report."""

from ramgru.lab.compare.compare import ReportConfig, compare, report
from ramgru.lab.compare.config import CompareConfig

__all__ = ["CompareConfig", "ReportConfig", "compare", "report"]
