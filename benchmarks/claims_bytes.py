"""Models by their bytes of state: readable names, the curves, and what they show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from claims_rows import Bar
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, PercentFormatter

from ramgru.lab.show.plots import bytes_text, percent, titled
from ramgru.lab.show.sentences import slice_text
from ramgru.lab.show.theme import color, look, style

if TYPE_CHECKING:
    from claims_page import Found

ROOM = 70 * 1024  # bytes of state within which the models are compared
NARROW = {"bfloat16": "in bfloat16", "int8": "in 8 bits"}  # cells that a row rounds
OPTIONS = {"d_state": "state size"}


class Paint(NamedTuple):
    """How a curve looks. at: the place of its label, in points from its first or its last mark."""

    role: str
    dash: Any
    marker: str
    bold: bool
    end: int  # 0: the first mark, -1: the last one
    at: tuple[float, float]
    align: str


# Ours in one colour, each rival in another; four curves stand out.
PAINTS = {
    "RAM-GRU in 8 bits": Paint("plum", (0, (4, 1.5)), "s", True, 0, (-8, -3), "right"),
    "RAM-GRU": Paint("plum", "-", "o", True, 0, (-8, -3), "right"),
    "Window attention": Paint("blue", "-", "D", True, -1, (12, 8), "right"),
    "Mamba-2": Paint("teal", "-", "h", True, -1, (0, 16), "right"),
    "DeltaNet": Paint("olive", "-", "<", False, -1, (0, 36), "right"),
    "Gated DeltaNet": Paint("rose", "-", "v", False, -1, (0, 49), "right"),
    "nn.GRU": Paint("amber", "-", "^", False, 0, (0, 9), "center"),
}
OTHER = Paint("muted", "-", "o", False, -1, (0, 9), "center")


class Curve(NamedTuple):
    """One kind of model: its rows by bytes of state, and its scores at one question."""

    kind: str
    ours: bool
    rows: Sequence[Found]
    size: Sequence[int]
    score: Sequence[Any]


def held(found: Found) -> int:
    """Bytes of state of a sequence, as measured where numbers are narrow."""
    first = next(iter(found.seeds.values()))["found"][0]
    return int(first.get("state_bytes", found.record["state_bytes"]))


def is_ours(found: Found) -> bool:
    return found.row.training.model.layer.partition(",")[0] == "ramgru"


def kind(found: Found) -> str:
    """What a row's model is, its sizes left out: `RAM-GRU in 8 bits`."""
    layer = found.row.training.model.layer.partition(",")[0]
    narrow = NARROW.get(found.row.name.partition("_")[0])
    return look(layer).label + (f" {narrow}" if narrow else "")


def title(found: Found) -> str:
    """A row as a reader knows it: `RAM-GRU, 256 cells in 8 bits`, `DeltaNet, value size 32`."""
    model, (name, space, narrow) = found.row.training.model, kind(found).partition(" in ")
    if is_ours(found):
        return f"{name}, {model.memory.cells} cells{space}{narrow}"
    options = [option.split("=") for option in model.layer.split(",")[1:]]
    sizes = [f"{OPTIONS.get(key, key.replace('_', ' '))} {value}" for key, value in options]
    return ", ".join([name, *sizes])


def curves(found: Sequence[Found], question: int) -> list[Curve]:
    kinds: dict[str, list[Found]] = {}
    for each in found:
        kinds.setdefault(kind(each), []).append(each)
    made = []
    for name, rows in kinds.items():
        rows = sorted(rows, key=held)
        scores = [each.of(question, Bar()).score for each in rows]
        made.append(Curve(name, is_ours(rows[0]), rows, [held(each) for each in rows], scores))
    return made


def finding(drawn: Sequence[Curve], pairs: int) -> str:
    """The best of ours and of the rivals within ROOM bytes, and what a rival needs to do better."""

    def best(chosen: Sequence[Curve]) -> float | None:
        fits = [s.mean for c in chosen for x, s in zip(c.size, c.score) if x <= ROOM]
        return max(fits, default=None)

    plain = [curve for curve in drawn if curve.kind == "RAM-GRU"]
    narrow = [curve for curve in drawn if curve.kind == "RAM-GRU in 8 bits"]
    rivals = [curve for curve in drawn if not curve.ours]
    mine, fewer, theirs = best(plain), best(narrow), best(rivals)
    if mine is None or theirs is None:
        return f"Asked for {pairs} pairs"
    text = f"In {bytes_text(ROOM)}, RAM-GRU recalls {percent(mine)} of {pairs} pairs"
    if fewer is not None and fewer > mine:
        text += f", {percent(fewer)} in 8 bits"
    text += f"; every rival {percent(theirs)} or less"
    above = [
        (x, s.mean, c.kind)
        for c in rivals
        for x, s in zip(c.size, c.score)
        if s.mean > max(mine, fewer or 0)
    ]
    if above:
        size, mean, name = min(above)
        name = "Attention" if name == "Window attention" else name
        text += f". {name} needs {bytes_text(size)} for {percent(mean)}"
    return text


def draw(found: Mapping[str, Found]) -> Figure:
    """Scores of the last question but one, where the models differ most, by bytes of state.

    Cells in bfloat16 are left out: they recall as much as the others, in half the bytes.
    """
    rows = [each for each in found.values() if NARROW["bfloat16"] not in kind(each)]
    asked = rows[0].row.questions[-2].axes
    drawn = curves(rows, -2)
    with style():
        figure = Figure(figsize=(7.2, 3.9))
        axes = figure.subplots()
        axes.set_ylim(-0.04, 1.1)
        axes.set(ylabel=f"recall at {slice_text(asked)}", xlabel="bytes of state of a sequence")
        axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(LogLocator(base=4, numticks=9))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: bytes_text(value)))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.fmt_xdata, axes.fmt_ydata = bytes_text, percent
        for curve in drawn:
            _draw(axes, curve)
    return titled(figure, finding(drawn, asked["pairs"]))


def _draw(axes: Axes, curve: Curve) -> None:
    """The line, its band of intervals, and its name beside an end of it."""
    paint = PAINTS.get(curve.kind, OTHER)
    hue, means = color(paint.role), [score.mean for score in curve.score]
    strength = {"linewidth": 2.2} if paint.bold else {"linewidth": 1.0, "markersize": 4}
    axes.plot(
        curve.size,
        means,
        color=hue,
        linestyle=paint.dash,
        marker=paint.marker,
        label=curve.kind,
        zorder=3 if paint.bold else 2,
        **strength,
    )
    bands = [(x, s.low, s.high) for x, s in zip(curve.size, curve.score) if s.low is not None]
    if bands and paint.bold:
        x, low, high = zip(*bands)
        axes.fill_between(x, low, high, color=hue, alpha=0.15, linewidth=0)
    axes.annotate(
        curve.kind,
        (curve.size[paint.end], means[paint.end]),
        xytext=paint.at,
        textcoords="offset points",
        color=hue,
        ha=paint.align,
        fontsize=9,
        fontweight="bold" if paint.bold else "normal",
    )
