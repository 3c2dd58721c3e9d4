"""Studying what makes a memory efficient: gates, number of cells, structure of the unit.

`study.study` makes the runs and needs the extra `study`; `report.report` draws them again without.
"""
