"""Pictures of a comparison: learning curves, and scores against size, distance, state or time.

Every function takes the plain data of data.py and returns a figure in the plum theme. A page shows
the finding above it; a picture that stands alone is `titled` with it, by `scores_finding` or
`curves_finding` where it has no other. Of more than four lines or points, the best of ours and the
best others stand out.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator, PercentFormatter

from ramgru.lab.show.data import Curve, Line, Point, Score
from ramgru.lab.show.sentences import bytes_text, percent, slice_text, time_text
from ramgru.lab.show.theme import color, look, style

LINE = 0.2  # inches that one row of a legend takes
WIDE = 100  # characters that fit in one row of a legend
TITLE = 72  # characters that fit in one row of a title
OURS = ("ramgru", "ram-gru")
STAND_OUT = 4  # lines at most
FAINT: dict[str, Any] = {"linewidth": 1.0, "markersize": 4, "alpha": 0.5}  # of the other lines


def learning_curves(curves: Sequence[Curve], metric: str = "recall") -> Figure:
    """The metric and the loss against steps: one line a run; runs of one layer share a look."""
    _need(curves, "curves")
    with style():
        figure = Figure(figsize=(7.2, 3.2))
        upper, lower = figure.subplots(1, 2)
        shown: list[str] = []
        best: dict[str, float] = {}
        for curve in curves:
            best[curve.layer] = max([best.get(curve.layer, 0.0), *curve.metric])
        bold = _standing_out(best)
        for curve in curves:
            first = curve.layer not in shown
            if first:
                shown.append(curve.layer)
            seen = look(curve.layer, shown.index(curve.layer))
            paint: dict[str, Any] = {"color": seen.color, "linestyle": seen.dash, "markersize": 4}
            paint |= {"alpha": 1.0 if first else 0.6} if curve.layer in bold else FAINT
            paint |= {"label": seen.label if first else "_" + seen.label, "marker": seen.marker}
            upper.plot(curve.metric_steps, curve.metric, **paint)
            lower.plot(curve.steps, curve.loss, markevery=slice(-1, None), **paint)
        _share(upper)
        upper.set(ylabel=f"{metric} on held-out data", xlabel="step")
        losses = [value for curve in curves for value in curve.loss]
        log = bool(losses) and min(losses) > 0 and max(losses) >= 5 * min(losses)
        lower.set(ylabel="training loss", xlabel="step", yscale="log" if log else "linear")
        if log:
            lower.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))  # two labels at least
        for axes in (upper, lower):
            axes.xaxis.set_major_formatter(FuncFormatter(_thousands))
            axes.margins(x=0.03)
            axes.fmt_xdata = _thousands
        lower.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        lower.yaxis.set_minor_locator(NullLocator())
        _legend(figure, 4)
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
    stand_out: Collection[str] = (),
) -> Figure:
    """Scores against the size of the task, with intervals.

    trained: the largest size seen in training; the sizes up to there are shaded.
    chance: the score of a guess. plateau: {size: the score of a memory that knows which values it
    has seen, but not with which key}. stand_out: layers; none given: as the module says.
    """
    _need(lines, "lines")
    with style():
        figure = Figure(figsize=(7.2, 3.6))
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
                label=f"1/{axis}: known values, unknown keys",
            )
        if chance is not None:
            axes.axhline(
                chance,
                color=color("muted"),
                linestyle=(0, (8, 3)),
                linewidth=1,
                label=f"chance {percent(chance)}",
            )
        _lines(axes, lines, stand_out)
        _share(axes)
        axes.set(ylabel=metric, xlabel=axis)
        axes.fmt_xdata = bytes_text if axis.startswith("bytes") else _thousands
        if log:
            _log_axis(axes, xs)
            axes.set_xlim(xs[0] / 1.25, xs[-1] * 1.25)
            if axis.startswith("bytes"):
                axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        _legend(figure, 2)
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


def score_against_state(points: Sequence[Point], metric: str, where: str) -> Figure:
    """One point a layer: its score against the bytes of its recurrent state (log).

    where: the questions asked, as in "at 1,024 pairs"
    """
    return _against(points, metric, where, "recurrent state of a sequence", bytes_text)


def score_against_time(points: Sequence[Point], metric: str, where: str) -> Figure:
    """One point a layer: its score against the microseconds of a train step per token (log)."""
    return _against(points, metric, where, "time of a train step per token", time_text)


def _against(
    points: Sequence[Point], metric: str, where: str, label: str, text: Callable[[float], str]
) -> Figure:
    _need(points, "points")
    with style():
        figure = Figure(figsize=(7.2, 3.2))
        axes = figure.subplots()
        bold = _standing_out({point.layer: point.score.mean for point in points})
        for order, point in enumerate(points):
            seen = look(point.layer, order)
            paint: dict[str, Any] = {"markersize": 9, "capsize": 3}
            axes.errorbar(
                [point.cost],
                [point.score.mean],
                yerr=_error(point.score),
                color=seen.color,
                marker=seen.marker,
                linestyle="none",
                zorder=(3 if point.layer in bold else 2) - 0.01 * order,
                **(paint if point.layer in bold else FAINT | {"markersize": 6}),
                label=f"{seen.label}: {percent(point.score.mean)} in {text(point.cost)}",
            )
        _share(axes)
        axes.set(ylabel=f"{metric} {where}", xlabel=label)
        axes.set_xscale("log", base=2)
        xs = [point.cost for point in points]
        room = 8 if text is bytes_text else 2
        axes.set_xlim(min(xs) / room, max(xs) * room)
        axes.xaxis.set_major_locator(LogLocator(base=2, numticks=7))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: text(value)))
        _legend(figure, 2)
    return figure


def titled(figure: Figure, finding: str) -> Figure:
    """The picture with its finding above it, for where it stands alone; the figure grows by it."""
    text = textwrap.fill(finding.replace(" %", "\N{NO-BREAK SPACE}%"), TITLE)
    figure.axes[0].set_title(text, loc="left")
    figure.set_figheight(figure.get_figheight() + LINE * (text.count("\n") + 1))
    return figure


def scores_finding(lines: Sequence[Line], axis: str, metric: str) -> str:
    """'At 256 pairs, the recall of RAM-GRU is 90.0 %, of nn.GRU 0.4 %': at the largest size, of the
    lines that stand out, and the highest of the others."""
    _need(lines, "lines")
    size = max(x for line in lines for x in line.x)
    found = {line.layer: dict(zip(line.x, line.scores)).get(size) for line in lines}
    named = {line.layer: line.label or look(line.layer, n).label for n, line in enumerate(lines)}
    scores = {layer: score.mean for layer, score in found.items() if score is not None}
    where = bytes_text(size) if axis.startswith("bytes") else slice_text({axis: int(size)})
    return f"At {where}, the {metric} {_ranked(scores, named)}"


def curves_finding(curves: Sequence[Curve], metric: str = "recall") -> str:
    """'In training, the highest held-out recall of RAM-GRU is 75.0 %, of nn.GRU 6.2 %': the mean
    over a layer's runs."""
    _need(curves, "curves")
    best: dict[str, list[float]] = {}
    for curve in curves:
        best.setdefault(curve.layer, []).append(max(curve.metric, default=0.0))
    named = {layer: look(layer, n).label for n, layer in enumerate(best)}
    scores = {layer: sum(each) / len(each) for layer, each in best.items()}
    return f"In training, the highest held-out {metric} {_ranked(scores, named)}"


def _ranked(scores: Mapping[str, float], named: Mapping[str, str]) -> str:
    """'of RAM-GRU is 90.0 %, of nn.GRU 0.4 %, of the 2 others at most 0.1 %', the highest first."""
    bold = _standing_out(scores)
    shown = sorted((layer for layer in scores if layer in bold), key=lambda x: -scores[x])
    parts = [
        f"of {named[layer]} {'' if n else 'is '}{percent(scores[layer])}"
        for n, layer in enumerate(shown)
    ]
    others = [score for layer, score in scores.items() if layer not in bold]
    if others:
        many = f"the {len(others)} others at most" if len(others) > 1 else "the other"
        parts.append(f"of {many} {percent(max(others))}")
    return ", ".join(parts)


def _standing_out(scores: Mapping[str, float]) -> set[str]:
    """The layers whose lines stand out: the best of ours, and the best others."""
    ranked = sorted(scores, key=lambda layer: scores[layer], reverse=True)
    ours = [layer for layer in ranked if layer.split(",")[0].split(" ")[0].lower() in OURS][:1]
    return {*ours, *[layer for layer in ranked if layer not in ours][: STAND_OUT - len(ours)]}


def _legend(figure: Figure, columns: int) -> None:
    """A legend below the axes, in as many columns as its labels allow; the figure grows by it."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    columns = max(1, min(columns, len(labels), WIDE // (8 + max(map(len, labels), default=0))))
    figure.set_figheight(figure.get_figheight() + LINE * -(-len(labels) // columns))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def _lines(axes: Axes, lines: Sequence[Line], stand_out: Collection[str]) -> None:
    means_of = {line.layer: [score.mean for score in line.scores] for line in lines}
    each = {layer: sum(means) / len(means) for layer, means in means_of.items()}
    bold = stand_out or _standing_out(each)
    for order, line in enumerate(lines):
        seen = look(line.layer, order)
        means = [score.mean for score in line.scores]
        axes.plot(
            line.x,
            means,
            color=seen.color,
            linestyle=seen.dash,
            marker=seen.marker,
            label=line.label or seen.label,
            zorder=(3 if line.layer in bold else 2) - 0.01 * order,
            **({} if line.layer in bold else FAINT),
        )
        banded = [
            (x, s.low, s.high)
            for x, s in zip(line.x, line.scores)
            if s.low is not None and s.high is not None
        ]
        if banded and line.layer in bold:
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
    axes.fmt_ydata = percent
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))


def _log_axis(axes: Axes, xs: Sequence[float]) -> None:
    """The measured sizes as ticks, without those whose labels would overlap."""
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


def _need(data: Sequence[Any], name: str) -> None:
    if not data:
        raise ValueError(f"{name} must hold at least one entry, got none")
