"""Pictures of a comparison: learning curves, and scores along an axis or against state bytes.

Every function takes plain data (report/data.py) and returns a Figure drawn in the plum theme.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from ramgru.lab.show.data import Curve, Line, Score, StatePoint, TimePoint
from ramgru.lab.show.theme import Look, color, look, style

MOST_ABREAST = 4  # names in one row of a legend


def learning_curves(curves: Sequence[Curve], metric: str = "recall") -> Figure:
    """The metric and the loss by step: a line a run; runs of one layer share their look."""
    _need(curves, "curves")
    with style():
        rows = -(-len({curve.layer for curve in curves}) // MOST_ABREAST)
        figure = Figure(figsize=(7.2, 3.2 + 0.2 * rows))
        upper, lower = figure.subplots(1, 2)
        shown: list[str] = []
        for curve in curves:
            first = curve.layer not in shown
            if first:
                shown.append(curve.layer)
            seen = look(curve.layer, shown.index(curve.layer))
            paint = {"color": seen.color, "linestyle": seen.dash, "alpha": 1.0 if first else 0.6}
            upper.plot(
                curve.metric_steps,
                curve.metric,
                label=seen.label if first else "_" + seen.label,
                marker=seen.marker,
                markersize=4,
                **paint,
            )
            lower.plot(curve.steps, curve.loss, **paint)
        _share(upper)
        upper.set(title=f"{metric.capitalize()} while training", xlabel="step")
        positive = all(value > 0 for curve in curves for value in curve.loss)
        lower.set(title="Loss", xlabel="step", yscale="log" if positive else "linear")
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.margins(x=0.03)
        lower.yaxis.set_major_formatter(FuncFormatter(_plain))
        lower.yaxis.set_minor_locator(NullLocator())
        figure.legend(loc="outside lower center", ncols=min(len(shown), MOST_ABREAST))
    return figure


def recall_against_pairs(
    lines: Sequence[Line],
    *,
    trained: float | None = None,
    chance: float | None = None,
    plateau: Mapping[float, float] | None = None,
    axis: str = "pairs",
    metric: str = "recall",
    log: bool = True,
) -> Figure:
    """Scores along the axis of difficulty, with intervals.

    trained: the largest size seen in training, marked by a line.
    chance: the score of guessing among all tokens. plateau: at each size, the score of a memory
    that knows which values it saw but not where.
    """
    _need(lines, "lines")
    with style():
        # Beyond four lines the legend below needs room of its own.
        figure = Figure(figsize=(7.2, 4.2 + 0.12 * max(0, len(lines) - 4)))
        axes = figure.subplots()
        xs = sorted({x for line in lines for x in line.x})
        if trained is not None:
            axes.axvspan(
                xs[0] / 1.25 if log else xs[0],
                trained,
                color=color("rule"),
                alpha=0.45,
                linewidth=0,
                label="trained on",
            )
        if plateau:
            sizes = sorted(plateau)
            axes.plot(
                sizes,
                [plateau[x] for x in sizes],
                color=color("muted"),
                linestyle=":",
                linewidth=1.5,
                label=f"1/{axis}: which, but not where",
            )
        if chance is not None:
            axes.axhline(
                chance,
                color=color("muted"),
                linestyle=(0, (8, 3)),
                linewidth=1,
                label=f"chance {percent(chance)}",
            )
        _lines(axes, lines)
        _share(axes)
        axes.set(title=f"{metric.capitalize()} against {axis}", xlabel=axis)
        if log:
            _log_axis(axes, xs)
            axes.set_xlim(xs[0] / 1.25, xs[-1] * 1.25)
        # Three a column: the layers under each other, what they are measured against beside them.
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def recall_against_distance(
    lines: Sequence[Line], *, chance: float | None = None, metric: str = "recall"
) -> Figure:
    """Scores against the steps between a write and the question for it (log), with intervals."""
    figure = recall_against_pairs(lines, chance=chance, axis="distance", metric=metric)
    figure.axes[0].set_xlabel(
        "distance from write to question (steps, from here up to the next point)"
    )
    return figure


def score_against_state(points: Sequence[StatePoint], metric: str, where: str) -> Figure:
    """One point a layer: its score against the bytes of its recurrent state (log).

    where: of which questions, as in "at 1,024 pairs"
    """
    measured = [(point.layer, float(point.state_bytes), point.score) for point in points]
    return _against(measured, metric, where, "recurrent state of a sequence", bytes_text)


def score_against_time(points: Sequence[TimePoint], metric: str, where: str) -> Figure:
    """One point a layer: its score against the time of a train step, a token (log).

    where: of which questions, as in "at 1,024 pairs"
    """
    measured = [(point.layer, point.microseconds, point.score) for point in points]
    return _against(measured, metric, where, "time of a train step, a token", time_text)


def _against(
    points: Sequence[tuple[str, float, Score]],
    metric: str,
    where: str,
    label: str,
    text: Callable[[float], str],
) -> Figure:
    _need(points, "points")
    with style():
        figure = Figure(figsize=(7.2, 3.2 + 0.12 * max(0, len(points) - 4)))
        axes = figure.subplots()
        for order, (layer, x, score) in enumerate(points):
            seen = look(layer, order)
            axes.errorbar(
                [x],
                [score.mean],
                yerr=_error(score),
                color=seen.color,
                marker=seen.marker,
                markersize=9,
                linestyle="none",
                capsize=3,
                label=f"{seen.label}: {percent(score.mean)} in {text(x)}",
            )
        _share(axes)
        axes.set(title=f"{metric.capitalize()} {where}", xlabel=label)
        axes.set_xscale("log", base=2)
        xs = [x for _, x, _ in points]
        room = 8 if text is bytes_text else 2
        axes.set_xlim(min(xs) / room, max(xs) * room)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
        figure.legend(loc="outside lower center", ncols=2)
    return figure


def time_text(microseconds: float) -> str:
    """3.21 -> '3.2 µs', 3210 -> '3.2 ms'."""
    if microseconds < 1000:
        return f"{microseconds:.2g} µs" if microseconds < 100 else f"{microseconds:.0f} µs"
    return f"{microseconds / 1000:.2g} ms"


def bytes_text(count: float) -> str:
    """512 -> '512 B', 2048 -> '2 KiB', 3 * 2**20 -> '3 MiB'."""
    for unit in ("B", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.3g} {unit}"
        count /= 1024
    return f"{count:.3g} GiB"


def _lines(axes: Axes, lines: Sequence[Line]) -> None:
    for order, line in enumerate(lines):
        seen: Look = look(line.layer, order)
        means = [score.mean for score in line.scores]
        axes.plot(
            line.x,
            means,
            color=seen.color,
            linestyle=seen.dash,
            marker=seen.marker,
            label=line.label or seen.label,
            zorder=3 - 0.01 * order,
        )
        banded = [
            (x, s.low, s.high)
            for x, s in zip(line.x, line.scores)
            if s.low is not None and s.high is not None
        ]
        if banded:
            x, low, high = zip(*banded)
            axes.fill_between(
                x, low, high, color=seen.color, alpha=0.18, linewidth=0, label="_" + seen.label
            )


def _error(score: Score) -> list[list[float]] | None:
    if score.low is None or score.high is None:
        return None
    return [[max(0.0, score.mean - score.low)], [max(0.0, score.high - score.mean)]]


def _share(axes: Axes) -> None:
    axes.set_ylim(-0.04, 1.04)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _log_axis(axes: Axes, xs: Sequence[float]) -> None:
    """The measured sizes themselves as ticks, thinned so that no two labels meet."""
    axes.set_xscale("log", base=2)
    ticks: list[float] = []
    room = (xs[-1] / xs[0]) ** (1 / 10) if xs[0] > 0 else 1.0
    for x in xs:
        if not ticks or x >= ticks[-1] * room:
            ticks.append(x)
    axes.set_xticks(ticks)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(_thousands))


def _thousands(value: float, _: Any = None) -> str:
    return f"{value:,.0f}"


def _plain(value: float, _: Any = None) -> str:
    return f"{value:g}"


def percent(share: float) -> str:
    """0.941 -> '94.1 %'; near nothing two digits that count, 0.00024 -> '0.024 %'; and what is
    not everything never reads so: 0.9998 -> '99.98 %'."""
    if 0 < share < 0.01:
        return f"{100 * share:.2g} %"
    text = f"{100 * share:.1f}"
    if text == "100.0" and share < 1:
        text = f"{min(100 * share, 99.99):.2f}"
    return f"{text} %"


def _need(data: Sequence[Any], name: str) -> None:
    if not data:
        raise ValueError(f"{name} must hold at least one entry, got none")
