"""Pictures and pages: plain data in, one self-contained HTML file out (extra `ramgru[report]`)."""

from ramgru.lab.show.data import Answer, Curve, Line, Occupancy, Sample, Score, StatePoint
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, render, write

__all__ = [
    "Answer",
    "Code",
    "Curve",
    "Line",
    "Occupancy",
    "Page",
    "Picture",
    "Sample",
    "Score",
    "Section",
    "StatePoint",
    "Table",
    "Text",
    "render",
    "write",
]
