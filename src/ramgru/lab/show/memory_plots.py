"""Pictures of one memory: where answers came from, cells in use, gates, and one cell over time.

A gate of 0 leaves a cell unchanged; a gate of 1 replaces its contents.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator

from ramgru.lab.show.data import Answer, Occupancy, Sample
from ramgru.lab.show.svg import HOVER
from ramgru.lab.show.theme import color, shade, style

MAP_SIDE = 64  # squares a side of an occupancy map at most; a square sums several cells
TOKEN_TICKS = 40  # tokens label the axis of an input up to this length
FAINT = 0.02  # smaller weights are not drawn
_MARKS = {True: "✓", False: "✗", None: "→"}
_DASHES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]
_HEADS = ["plum", "amber", "teal", "blue", "olive", "rose"]


def provenance(sample: Sample, most: int = 24) -> Figure:
    """A row a question, a column a step; darker where more of the read was written.

    A ring marks the step that holds the right answer. most: rows at most, the first questions.
    """
    if not sample.answers:
        raise ValueError("sample.answers must hold at least one answer, got none")
    answers = list(sample.answers)[:most]
    with style():
        figure = Figure(figsize=(7.2, 1.6 + 0.24 * len(answers)))
        axes = figure.subplots()
        last = max(answer.step for answer in answers) + 1
        wide = max(1.0, last / 90)  # a step of a long input would be thinner than a line
        for row, answer in enumerate(answers):
            _weights(axes, row, answer, last, wide)
            said = f"{_MARKS[answer.right]} {answer.answered}"
            beside = axes.get_yaxis_transform()
            axes.text(
                1.01,
                row,
                said,
                transform=beside,
                va="center",
                fontsize=9,
                color=color(_role(answer)),
            )
        axes.set(xlim=(-0.5 - wide, last - 0.5 + wide), ylim=(len(answers) - 0.5, -0.5))
        asked = [
            f"step {a.step}: {sample.tokens[a.step]}"
            + ("" if a.expected is None else f" → {a.expected}")
            for a in answers
        ]
        axes.set_yticks(range(len(answers)), asked)
        _token_axis(axes, sample.tokens[:last])
        axes.set_ylabel("question → answer")
        axes.grid(visible=False, axis="y")
        key: list[Artist] = [
            Patch(color=color("plum"), label="right answer"),
            Patch(color=color("rose"), label="wrong answer"),
        ]
        if any(answer.written is not None for answer in answers):
            key.append(_ring([], [], "step that holds the right answer"))
        figure.legend(handles=key, loc="outside lower center", ncols=len(key))
    return figure


def _weights(axes: Axes, row: int, answer: Answer, last: int, wide: float) -> None:
    weights = np.asarray(answer.weight, dtype=np.float64)[:last]
    for step in np.flatnonzero(weights >= FAINT):
        said = f"{HOVER}step {step}: {weights[step]:.3f} of the read at step {answer.step}"
        bars = axes.barh(
            row,
            wide,
            0.8,
            step - wide / 2,
            color=color(_role(answer)),
            alpha=float(0.15 + 0.85 * min(weights[step], 1.0)),
        )
        bars[0].set_label(said)
    if answer.written is not None:
        axes.add_line(_ring([answer.written], [row], "_written"))


def _role(answer: Answer) -> str:
    """Rose for a wrong answer; an answer that cannot be judged is drawn as a right one."""
    return "rose" if answer.right is False else "plum"


def _ring(x: Sequence[float], y: Sequence[float], label: str) -> Line2D:
    return Line2D(
        x,
        y,
        color="none",
        linestyle="none",
        marker="o",
        markersize=9,
        markeredgecolor=color("ink"),
        markeredgewidth=1,
        label=label,
    )


def occupancy(memory: Occupancy) -> Figure:
    """Left: writes per cell on a √N × √N map, summed over heads. Right: cells by rank, per head."""
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
            if largest >= 20:  # a shorter log axis has no room for two ticks
                scale("log")
            else:
                axis.set_major_locator(MaxNLocator(5, integer=True))
            axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
        if len(memory.writes) > 1 and memory.used:
            handles, labels = right.get_legend_handles_labels()
            figure.legend(handles, labels, loc="outside lower center", ncols=4)
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


def cell_over_time(
    gate: Sequence[float] | np.ndarray, activation: np.ndarray, tokens: Sequence[str], title: str
) -> Figure:
    """One cell: gate (T,) above, activation (T, D) below; plum is positive, amber negative."""
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
        axes.set_xlabel("input of each step")
        longest = max(map(len, tokens), default=0)
        crowded = (longest + 1) * len(tokens) > 90  # upright labels do not overlap
        axes.set_xticks(range(len(tokens)), tokens, rotation=90 if crowded else 0)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set_xlabel("step")
