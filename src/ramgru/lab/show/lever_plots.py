"""Pictures of a study of levers: what a memory holds against how many cells it has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from ramgru.lab.show.theme import look, style


@dataclass(frozen=True)
class CellsPoint:
    """One number of cells. held: pairs, None where the task has none; at_least: or more.
    bits: recalled bits a bit of state. step_us: microseconds of a step."""

    cells: int
    held: float | None
    at_least: bool
    bits: float | None
    step_us: float | None


def against_cells(points: Sequence[CellsPoint]) -> Figure:
    """Three panels over the number of cells (log): pairs held, bits a bit of state, time a step.

    Where the largest size measured is held still, the marker points upward: it is that or more.
    """
    if not points:
        raise ValueError("points must hold at least one entry, got none")
    with style():
        figure = Figure(figsize=(7.2, 3.0))
        held, bits, time = figure.subplots(1, 3)
        _panel(held, [(p.cells, p.held) for p in points], "Pairs held", log=True)
        seen = look("ramgru")
        upward = [(p.cells, p.held) for p in points if p.at_least and p.held]
        if upward:
            x, y = zip(*upward)
            held.plot(x, y, "^", color=seen.color, markersize=9, label="or more")
            held.legend(loc="lower right")
        _panel(bits, [(p.cells, p.bits) for p in points], "Bits a bit of state", log=True)
        _panel(time, [(p.cells, p.step_us) for p in points], "Step, µs", log=False)
    return figure


def _panel(axes: Axes, values: Sequence[tuple[int, float | None]], title: str, log: bool) -> None:
    seen = look("ramgru")
    # Nothing at all has no place on a log axis.
    shown = [(x, y) for x, y in values if y is not None and (y > 0 or not log)]
    axes.set(title=title, xlabel="cells")
    axes.set_xscale("log", base=2)
    cells = [x for x, _ in values]
    axes.set_xlim(min(cells) / 2, max(cells) * 2)
    axes.xaxis.set_major_locator(LogLocator(base=2, numticks=5))
    axes.xaxis.set_minor_locator(NullLocator())
    if not shown:
        axes.text(0.5, 0.5, "none", ha="center", transform=axes.transAxes)
        axes.set_yticks([])
        return
    x, y = zip(*shown)
    axes.plot(x, y, color=seen.color, marker=seen.marker, linestyle=seen.dash)
    if log:
        axes.set_yscale("log")
    else:
        axes.set_ylim(0, 1.25 * max(y))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
