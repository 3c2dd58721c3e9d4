"""What `inspect` shows: one self-contained page, and the same in a few lines of text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ramgru.lab.show import machine, memory_plots, provenance_plots, sentences
from ramgru.lab.show.data import Answer
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts
from ramgru.lab.show.view import Unit, View

MOST_ROWS = 200  # questions that the table lists
MOST_LINES = 24  # questions that the terminal lists
_BARS = " ▁▂▃▄▅▆▇█"
_MARKS = {True: "✓", False: "✗", None: "·"}
_NO_PROVENANCE = (
    "This model's write rule mixes what is written with what a cell held, so its reads have no "
    "exact provenance; the GRU rule's have."
)


def page(view: View, *, title: str, typed: str, command: str) -> Page:
    """The page of one view. typed: the input as a user would type it."""
    tokens, answers = view.sample.tokens, view.sample.answers
    parts: list[Picture | Table | Text] = []
    if view.exact:
        parts.append(
            Picture(
                provenance_plots.provenance(view.sample),
                "For each question the steps whose writes its answer is made of.",
                sentences.provenance_finding(view.sample),
            )
        )
    else:
        parts.append(Text(_NO_PROVENANCE))
    parts.append(_answers(view))
    gates = Picture(
        memory_plots.gates_over_time(view.gates, tokens),
        "The strongest write gate of each step, a line a head.",
        _gate_finding(view),
    )
    cells = Picture(
        memory_plots.occupancy(view.occupancy),
        "Writes per cell: a map, and cells by rank.",
        sentences.occupancy_finding(view.occupancy, f"{len(tokens):,} steps"),
    )
    sections = [
        Section("Where each answer came from", parts),
        Section("Gates over time", [gates]),
        Section("Cells in use", [cells, Text(_most_written(view))]),
    ]
    if view.unit is not None:
        sections.append(Section(f"Cell {view.unit.cell}", _unit(view, view.unit)))
    sections.append(
        Section("Repeat it", [Code(command), Code(typed), facts("The machine", machine.describe())])
    )
    lead = f"{_place(view)}. {_right(answers)}"
    return Page(title, lead, sections)


def text(view: View) -> str:
    """The view in the terminal: a line a question, one for the cells, one for the unit."""
    lines = [_place(view), _right(view.sample.answers)]
    tokens = view.sample.tokens
    for answer in view.sample.answers[:MOST_LINES]:
        line = f"  {_MARKS[answer.right]} step {answer.step}: {tokens[answer.step]}"
        line += f" → {answer.answered}"
        if answer.right is False:
            line += f", expected {answer.expected}"
        if source := _source(answer, tokens):
            line += f"   from {source}"
        lines.append(line)
    if (more := len(view.sample.answers) - MOST_LINES) > 0:
        lines.append(f"  … and {more} more")
    if not view.exact:
        lines.append(_NO_PROVENANCE)
    lines.append(sentences.occupancy_finding(view.occupancy, f"{len(tokens):,} steps"))
    lines.append(_most_written(view))
    if view.unit is not None:
        lines.append(f"cell {view.unit.cell}: gate |{bars(view.unit.gate)}|")
        lines.append(f"  {_unit_finding(view.unit)}")
    return "\n".join(lines)


def bars(values: np.ndarray, width: int = 72) -> str:
    """values in [0, 1] as a row of bars; where there are more than width, the largest of each."""
    pieces = np.array_split(np.asarray(values), min(width, len(values)))
    return "".join(_BARS[round(float(np.clip(p.max(), 0, 1)) * (len(_BARS) - 1))] for p in pieces)


def _place(view: View) -> str:
    heads = len(view.occupancy.cells)
    return (
        f"Block {view.block} of {view.blocks} (counted from 0), head {view.head} of {heads}, "
        f"{view.occupancy.memory_size:,} cells a head"
    )


def _right(answers: Sequence[Answer]) -> str:
    judged = [answer.right for answer in answers if answer.right is not None]
    if not judged:
        return "What the right answer is, this task does not say for an input that is typed."
    return f"{sum(judged)} of {len(judged)} answers are right."


def _source(answer: Answer, tokens: Sequence[str]) -> str:
    """'step 3, 4711 (0.98)': the strongest write in an answer."""
    if not any(answer.weight):
        return ""
    step = max(range(len(answer.weight)), key=answer.weight.__getitem__)
    return f"step {step}, {tokens[step]} ({answer.weight[step]:.2f})"


def _answers(view: View) -> Table:
    answers, tokens = view.sample.answers[:MOST_ROWS], view.sample.tokens
    rows = [
        [
            str(answer.step),
            tokens[answer.step],
            "not known" if answer.expected is None else answer.expected,
            answer.answered,
            {True: "✓ right", False: "✗ wrong", None: ""}[answer.right],
            _source(answer, tokens),
            f"{sum(answer.weight):.3f}",
        ]
        for answer in answers
    ]
    caption = "Answers, the strongest write in each, and the sum of the weights of all writes in it"
    if len(view.sample.answers) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(view.sample.answers):,})"
    header = ("step", "asked", "right answer", "answered", "", "mostly from", "all writes")
    return Table(caption, header, rows, text=True)


def _gate_finding(view: View) -> str:
    gate, tokens = view.gates[:, view.head], view.sample.tokens
    strongest = int(gate.argmax())
    return (
        f"Head {view.head} writes with a gate above one half at {int((gate > 0.5).sum()):,} of "
        f"{len(gate):,} steps, most at step {strongest} ({tokens[strongest]}, "
        f"gate {gate[strongest]:.2f})."
    )


def _most_written(view: View) -> str:
    cells = view.occupancy.most_written(view.head)
    if not cells:
        return f"Head {view.head} writes into no cell."
    named = ", ".join(f"{cell} ({writes:,})" for cell, writes in cells)
    return f"Cells most written by head {view.head} (writes): {named}. --cell shows one over time."


def _unit(view: View, unit: Unit) -> list[Picture | Code]:
    drawn = Picture(
        memory_plots.cell_over_time(
            unit.gate, unit.activation, view.sample.tokens, f"Cell {unit.cell}, head {view.head}"
        ),
        "The unit's write gate at each step, above its activation, channel by channel.",
        _unit_finding(unit),
    )
    state = np.array2string(unit.state, precision=4, max_line_width=76, threshold=unit.state.size)
    return [drawn, Code(state, summary="The unit's state after the last step")]


def _unit_finding(unit: Unit) -> str:
    written = np.flatnonzero(unit.gate > 0)
    if not len(written):
        return "No step addresses this cell: its gate is 0 throughout and its state is what it was."
    largest = float(np.abs(unit.state).max())
    return (
        f"{len(written):,} of {len(unit.gate):,} steps address this cell, the strongest with gate "
        f"{unit.gate.max():.2f} at step {int(unit.gate.argmax())}; its state ends within "
        f"±{largest:.3f}."
    )
