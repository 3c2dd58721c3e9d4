"""Pictures of one memory: which cells are in use, the gates over time, what one unit does.

A unit is what DESIGN §2 calls a cell: gate 0 leaves its state as it was, gate 1 replaces it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ramgru.lab.show.data import Occupancy
from ramgru.lab.show.theme import color, shade, style

MAP_SIDE = 64  # an occupancy map is summed down to at most this many squares a side
TOKEN_TICKS = 40  # more tokens than this are not written under an axis
_DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]
_HEADS = ["plum", "amber", "teal", "blue", "olive", "rose"]


def occupancy(memory: Occupancy) -> Figure:
    """Left: writes per cell as a √N × √N map, heads summed. Right: cells by rank, a line a head."""
    with style():
        figure = Figure(figsize=(7.2, 3.4))
        left, right = figure.subplots(1, 2, width_ratios=[1, 1.25])
        grid = _map(memory)
        top = grid.max()
        depth = np.log1p(grid) / np.log1p(max(top, 1))
        left.imshow(shade(np.where(grid > 0, 0.2 + 0.8 * depth, 0.0)), aspect="equal")
        left.set(xticks=[], yticks=[], title="Writes per cell")
        left.grid(visible=False)
        for spine in left.spines.values():
            spine.set_visible(True)
        each = memory.memory_size / grid.size
        square = "a cell" if each <= 1 else f"{each:.0f} cells"
        left.set_xlabel(f"a square = {square}; strongest = {top:,.0f} writes", fontsize=9)
        for head, writes in enumerate(memory.writes):
            ranked = sorted(writes, reverse=True)
            if ranked:
                right.plot(
                    range(1, len(ranked) + 1),
                    ranked,
                    drawstyle="steps-post",
                    **_head(head),
                    label=f"head {head}",
                )
        most = max((max(head, default=0) for head in memory.writes), default=0)
        there = memory.memory_size * len(memory.cells)
        right.set(
            title=f"{memory.used:,} of {there:,} cells in use",
            xlabel="cells, most written first",
            ylabel="writes",
        )
        sides = (
            (right.xaxis, right.set_xscale, memory.used),
            (right.yaxis, right.set_yscale, most),
        )
        for axis, scale, largest in sides:
            if largest >= 20:  # below, a log axis has no room for two ticks
                scale("log")
            else:
                axis.set_major_locator(MaxNLocator(5, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if len(memory.writes) > 1 and memory.used:
            right.legend(loc="lower left")
    return figure


def _map(memory: Occupancy) -> np.ndarray:
    side = math.isqrt(memory.memory_size - 1) + 1  # ⌈√N⌉
    fold = -(-side // MAP_SIDE)
    small = -(-side // fold)
    grid = np.zeros((small, small))
    for cells, writes in zip(memory.cells, memory.writes):
        row, column = np.divmod(np.asarray(cells, dtype=np.int64), side)
        np.add.at(grid, (row // fold, column // fold), np.asarray(writes, dtype=np.float64))
    return grid


def gates_over_time(gates: np.ndarray, tokens: Sequence[str]) -> Figure:
    """gates (T, H): the strongest write gate of each step, a line a head."""
    with style():
        figure = Figure(figsize=(7.2, 2.8))
        axes = figure.subplots()
        for head, gate in enumerate(np.asarray(gates).T):
            axes.plot(
                range(len(gate)), gate, drawstyle="steps-mid", label=f"head {head}", **_head(head)
            )
        axes.set(title="Write gate at each step", ylim=(-0.04, 1.04), ylabel="gate")
        _token_axis(axes, tokens)
        if gates.shape[1] > 1:
            figure.legend(loc="outside right upper")
    return figure


def cell_over_time(
    gate: Sequence[float] | np.ndarray, activation: np.ndarray, tokens: Sequence[str], title: str
) -> Figure:
    """One unit: gate (T,) above, activation (T, D) below; plum is positive, amber negative."""
    values = np.asarray(activation, dtype=np.float64)
    with style():
        figure = Figure(figsize=(7.2, 3.8))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[1, 1.6])
        upper.bar(range(len(gate)), gate, width=0.8, color=color("plum"))
        upper.set(title=title, ylim=(0, 1.04), ylabel="gate")
        largest = float(np.abs(values).max()) or 1.0
        image = shade(np.abs(values.T) / largest)
        image[values.T < 0, :3] = (0.80, 0.50, 0.10)
        lower.imshow(image, aspect="auto", extent=(-0.5, len(gate) - 0.5, values.shape[1], 0))
        lower.set(ylabel="activation")
        lower.yaxis.set_major_locator(MaxNLocator(4, integer=True))
        lower.grid(visible=False)
        _token_axis(lower, tokens)
    return figure


def _head(head: int) -> dict[str, Any]:
    return {
        "color": color(_HEADS[head % len(_HEADS)]),
        "linestyle": _DASHES[head % len(_DASHES)],
        "linewidth": 1.6,
    }


def _token_axis(axes: Axes, tokens: Sequence[str]) -> None:
    if len(tokens) <= TOKEN_TICKS:
        axes.set_xticks(range(len(tokens)), tokens, rotation=turn_of(tokens))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("step")


def turn_of(tokens: Sequence[str]) -> int:
    """Degrees that labels are turned by: upright where they would meet each other."""
    longest = max(map(len, tokens), default=0)
    return 90 if (longest + 1) * len(tokens) > 90 else 0
