"""Where each answer came from: arcs over a short input, a matrix for a long one.

After DESIGN §2: under the GRU rule every read is an exact, known mixture of past writes.
"""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path as Curve
from matplotlib.ticker import MaxNLocator

from ramgru.lab.show.data import Answer, Sample
from ramgru.lab.show.memory_plots import turn_of
from ramgru.lab.show.theme import color, style

ARC_TOKENS = 40  # more tokens than this, and arcs give way to a matrix
FAINT = 0.02  # weights below are not drawn
LETTER = 6.0  # points that a letter of a label takes at most
ROOM = 210.0  # points that the picture of arcs is high
_MARKS = {True: "✓", False: "✗", None: "→"}


def provenance(sample: Sample, most: int = 24) -> Figure:
    """Where each answer came from: arcs over a short input, a matrix for a long one.

    most: questions drawn at most, the first ones.
    """
    if not sample.answers:
        raise ValueError("sample.answers must hold at least one answer, got none")
    if len(sample.tokens) <= ARC_TOKENS and len(sample.answers) <= most:
        return provenance_arcs(sample)
    return provenance_matrix(sample, most)


def provenance_arcs(sample: Sample) -> Figure:
    """Tokens in a row; from each question an arc to every write that its answer is made of.

    Width is weight; plum and solid where the answer is right, rose and dashed where it is wrong.
    """
    steps = len(sample.tokens)
    with style():
        figure = Figure(figsize=(7.2, 3.4))
        axes = figure.subplots()
        asked = {answer.step: answer for answer in sample.answers}
        tallest = 1.0
        for answer in sample.answers:
            for source, weight in enumerate(answer.weight):
                if weight < FAINT:
                    continue
                tallest = max(tallest, _arc(axes, answer.step, source, weight, _role(answer)))
        turn = turn_of(sample.tokens)
        for step, token in enumerate(sample.tokens):
            here = asked.get(step)
            _label(axes, step, 5, token, turn, "ink" if here is None else _role(here), bool(here))
        # Labels take room in points, arcs in steps: the marks stand below the longest question.
        longest = max(len(sample.tokens[step]) for step in asked)
        below = 22 if turn == 0 else 14 + LETTER * longest
        for answer in sample.answers:
            mark = f"{_MARKS[answer.right]} {answer.answered}"
            _label(axes, answer.step, below, mark, turn, _role(answer), False)
        said = max(len(answer.answered) for answer in sample.answers)
        deepest = below + (12 if turn == 0 else LETTER * (2 + said))
        if turn:
            deepest = max(deepest, 5 + LETTER * max(map(len, sample.tokens)))
        axes.set(
            xlim=(-0.8, steps - 0.2),
            ylim=(-(tallest + 0.3) * deepest / max(ROOM - deepest, ROOM / 4), tallest + 0.3),
            xticks=[],
            yticks=[],
            title="Which write each answer came from",
        )
        axes.grid(visible=False)
        for spine in axes.spines.values():
            spine.set_visible(False)
    return figure


def _label(
    axes: Axes, step: int, below: float, text: str, turn: int, role: str, bold: bool
) -> None:
    """Text `below` points under a step."""
    axes.annotate(
        text,
        (step, 0),
        xytext=(0, -below),
        textcoords="offset points",
        rotation=turn,
        ha="center",
        va="top",
        fontsize=9,
        color=color(role),
        fontweight="bold" if bold else "normal",
    )


def _arc(axes: Axes, question: int, source: int, weight: float, role: str) -> float:
    """Half an ellipse between two steps; -> its height."""
    height = 0.6 + 0.35 * abs(question - source) ** 0.8
    top = height * 4 / 3  # a cubic's middle lies at 3/4 of its handles
    path = Curve(
        [(source, 0), (source, top), (question, top), (question, 0)],
        [Curve.MOVETO, Curve.CURVE4, Curve.CURVE4, Curve.CURVE4],
    )
    axes.add_patch(
        PathPatch(
            path,
            facecolor="none",
            edgecolor=color(role),
            linestyle=(0, (4, 2)) if role == "rose" else "-",
            linewidth=0.4 + 2.4 * weight,
            alpha=0.35 + 0.6 * min(weight, 1.0),
        )
    )
    return height


def _role(answer: Answer) -> str:
    """Rose for a wrong answer only: one that nobody can judge is drawn as a right one."""
    return "rose" if answer.right is False else "plum"


def provenance_matrix(sample: Sample, most: int = 24) -> Figure:
    """A row a question, a column a step; the darker, the more of the answer was written there.

    A ring is where the right answer was written; on its right each row says what was answered.
    """
    answers = list(sample.answers)[:most]
    with style():
        figure = Figure(figsize=(7.2, 1.1 + 0.24 * len(answers)))
        axes = figure.subplots()
        last = max(answer.step for answer in answers) + 1
        weights = np.zeros((len(answers), last))
        for row, answer in enumerate(answers):
            known = np.asarray(answer.weight, dtype=np.float64)[:last]
            weights[row, : len(known)] = known
        axes.pcolormesh(
            np.arange(last + 1) - 0.5, np.arange(len(answers) + 1) - 0.5, weights, visible=False
        )  # sets the limits; the squares below can be told apart
        axes.set_ylim(len(answers) - 0.5, -0.5)
        wide = max(1.0, last / 90)  # a step may be thinner than a line: no mark is
        for row, answer in enumerate(answers):
            role = _role(answer)
            for step in np.flatnonzero(weights[row] >= FAINT):
                axes.barh(
                    row,
                    wide,
                    0.8,
                    step - wide / 2,
                    color=color(role),
                    alpha=float(0.15 + 0.85 * min(weights[row, step], 1.0)),
                )
            if answer.written is not None:
                axes.plot(
                    [answer.written],
                    [row],
                    marker="o",
                    markersize=9,
                    color="none",
                    markeredgecolor=color("ink"),
                    markeredgewidth=1,
                    linestyle="none",
                )
            said = f"{_MARKS[answer.right]} {answer.answered}"
            axes.text(
                1.01,
                row,
                said,
                transform=axes.get_yaxis_transform(),
                va="center",
                fontsize=9,
                color=color(role),
            )
        axes.set_xlim(-0.5 - wide, last - 0.5 + wide)
        asked = [
            f"step {a.step}: {sample.tokens[a.step]}"
            + ("" if a.expected is None else f" → {a.expected}")
            for a in answers
        ]
        axes.set_yticks(range(len(answers)), asked)
        axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
        axes.set(title="Which write each answer came from", xlabel="step of the write")
        axes.grid(visible=False, axis="y")
    return figure
