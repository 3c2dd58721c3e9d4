"""`ramgru inspect`: the memory of a trained model while it reads one input, as a page and text."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ramgru.errors import RamgruError
from ramgru.lab.show import html, live, machine, memory_plots, sentences
from ramgru.lab.show.data import Answer, Example
from ramgru.lab.show.example import draw, parse, read
from ramgru.lab.show.history import moments, rival_of
from ramgru.lab.show.html import Code, Page, Picture, Section, Table, Text, facts
from ramgru.lab.show.live import Live
from ramgru.lab.show.story import tell
from ramgru.lab.show.view import Unit, View, look
from ramgru.lab.tasks.base import Task
from ramgru.lab.train.configfile import read_config
from ramgru.lab.train.data import held_out_seed
from ramgru.lab.train.run import CONFIG, LOG, load_run
from ramgru.lab.train.status import has_memory

PAGE = "inspect.html"
MOST_ROWS = 200  # questions in the table
MOST_LINES = 24  # questions in the terminal
_BARS = " ▁▂▃▄▅▆▇█"
_MARKS = {True: "✓", False: "✗", None: "·"}


@dataclass(frozen=True)
class InspectConfig:
    """Show the memory of a trained RAM-GRU while it reads one input."""

    run: Path | None = None
    """Run directory; None: the newest run below runs/ that has a memory."""
    input: str | None = None
    """Input to read: token ids, or text if the task has a vocabulary; None: draw an example."""
    file: Path | None = None
    """File with the input, in the form of `input`, or a table with the columns of the run's own;
    its first 512 steps are read."""
    beside: Path | None = None
    """Run of another layer on the same task, whose answers are shown beside; None: the nn.GRU that
    was trained on it in the same folder, if there is one."""
    seed: int = 0
    """Seed of the drawn example."""
    cell: int | None = None
    """Memory cell to show over time: its gate, its activation and its contents."""
    block: int | None = None
    """Block to show, from 0; None: the block whose reads weigh the right answers most."""
    head: int | None = None
    """Head to show, from 0; None: the head whose reads weigh the right answers most."""
    out: Path | None = None
    """HTML file to write; None: inspect.html in the run directory."""

    def __post_init__(self) -> None:
        for name in ("seed", "cell", "block", "head"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"{name}: expected at least 0, got {value}")
        if self.input is not None and self.file is not None:
            raise ValueError(f"give input or file, not both, got {self.input!r} and {self.file}")


def inspect(config: InspectConfig, *, quiet: bool = False) -> Path:
    """Write the page of one input and a run's model; -> its path.

    quiet: do not print the text view.
    Raises ValueError: the input cannot be read, or no such block, head or cell. RamgruError: no
    such run, or a model without a memory.
    """
    run = config.run if config.run is not None else newest_with_memory()
    path = config.out if config.out is not None else run / PAGE
    html.check_target(path)  # before the work
    trained, task, model = load_run(run)
    example = _example(config, task)
    view = look(model, task, example, block=config.block, head=config.head, cell=config.cell)
    if view is None:
        raise RamgruError(
            f"the model of {run} has no memory: expected a run of layer ramgru, "
            f"got {read_config(run / CONFIG).model.layer}"
        )
    rival = rival_of(run, trained, config.beside)
    story = tell(task, example, moments(run, trained, model), view.ranking, rival)
    made = page(
        view,
        story,
        where=f"Inside {run.name}: one input of {task.name}",
        command=_command(config, run),
    )
    html.write(made, path)
    if not quiet:
        print(text(view))
        print(f"page: {path}")
    return path


def _example(config: InspectConfig, task: Task) -> Example:
    if config.file is not None:
        return read(task, config.file)
    if config.input is not None:
        return parse(task, config.input)
    return draw(task.held_out(), held_out_seed(config.seed, 0))


def newest_with_memory(root: Path = Path("runs")) -> Path:
    """The newest run of layer ramgru. Raises RamgruError if there is none."""
    found = [path for path in root.glob(f"**/{CONFIG}") if (path.parent / LOG).exists()]
    for path in sorted(found, key=lambda p: (p.stat().st_mtime_ns, str(p)), reverse=True):
        if has_memory(path.parent):
            return path.parent
    raise RamgruError(
        f"no run of layer ramgru in {root}/: expected one made by `ramgru train`, or its path"
    )


def _command(config: InspectConfig, run: Path) -> str:
    words = ["ramgru", "inspect", str(run)]
    drawn = config.input is None and config.file is None
    for name in ("input", "file", "beside", "seed", "cell", "block", "head"):
        value = getattr(config, name)
        if value is not None and (drawn or name != "seed"):
            words += [f"--{name}", str(value)]
    return shlex.join(words)


def page(view: View, story: dict[str, Any], *, where: str, command: str) -> Page:
    """The page of one view. story: of `tell`. where: the run and the task."""
    tokens = view.sample.tokens
    cells = Picture(
        memory_plots.occupancy(view.occupancy),
        "Writes per cell: a map, and cells by rank.",
        sentences.occupancy_finding(view.occupancy, f"{len(tokens):,} steps"),
    )
    sections = [
        Section("Where each answer came from", [Live(story), Text(_finding(view))]),
        Section("All answers", [_answers(view, story.get("rival"))]),
        Section("Cells in use", [cells, Text(_most_written(view))]),
    ]
    if view.unit is not None:
        sections.append(Section(f"Cell {view.unit.cell}", _unit(view, view.unit)))
    typed = [] if story["series"] else [Code(" ".join(tokens))]
    sections.append(
        Section("Repeat it", [Code(command), *typed, facts("The machine", machine.describe())])
    )
    title = sentences.beside(view.sample, story.get("rival"))
    lead = f"{where}. {_place(view)}."
    return Page(title or where, lead, sections, css=live.CSS, script=live.SCRIPT)


def _finding(view: View) -> str:
    return f"{sentences.provenance_finding(view.sample)} {_gate_finding(view)}"


def text(view: View) -> str:
    """The view in the terminal: one line a question, then the cells and the chosen cell."""
    lines = [_place(view), sentences.right_of(view.sample)]
    tokens = view.sample.tokens
    for answer in view.sample.answers[:MOST_LINES]:
        line = f"  {_MARKS[answer.right]} step {answer.step}: {tokens[answer.step]}"
        line += f" → {answer.answered}"
        if answer.right is False or answer.error is not None:
            line += f", expected {answer.expected}"
        if answer.error is not None:
            line += f", error {sentences.error_text(answer.error)}"
        if source := _source(answer, tokens):
            line += f"   mostly from {source}"
        lines.append(line)
    if (more := len(view.sample.answers) - MOST_LINES) > 0:
        lines.append(f"  … and {more} more")
    lines.append(sentences.occupancy_finding(view.occupancy, f"{len(tokens):,} steps"))
    lines.append(_most_written(view))
    if view.unit is not None:
        lines.append(f"cell {view.unit.cell}: gate |{bars(view.unit.gate)}|")
        lines.append(f"  {_unit_finding(view.unit)}")
    return "\n".join(lines)


def bars(values: np.ndarray, width: int = 72) -> str:
    """values in [0, 1] as a row of at most `width` bars; each is the maximum of what it covers."""
    pieces = np.array_split(np.asarray(values), min(width, len(values)))
    return "".join(_BARS[round(float(np.clip(p.max(), 0, 1)) * (len(_BARS) - 1))] for p in pieces)


def _place(view: View) -> str:
    return (
        f"Block {view.block} of {view.blocks} (counted from 0), head {view.head} of "
        f"{len(view.occupancy.cells)}, {view.occupancy.memory_size:,} cells a head"
    )


def _source(answer: Answer, tokens: Sequence[str]) -> str:
    """'step 3, 4711 (0.98)': the write with the largest weight in a read."""
    if not any(answer.weight):
        return ""
    step = max(range(len(answer.weight)), key=answer.weight.__getitem__)
    return f"step {step}, {tokens[step]} ({answer.weight[step]:.2f})"


def _verdict(answer: Answer) -> str:
    if answer.error is not None:
        return f"error {sentences.error_text(answer.error)}"
    return {True: "✓ right", False: "✗ wrong", None: ""}[answer.right]


def _answers(view: View, rival: dict[str, Any] | None) -> Table:
    tokens = view.sample.tokens
    rows = [
        [
            str(answer.step),
            tokens[answer.step],
            "not known" if answer.expected is None else answer.expected,
            answer.answered,
            _verdict(answer),
            _source(answer, tokens),
            f"{sum(answer.weight):.3f}",
            *([rival["said"][n]] if rival else []),
        ]
        for n, answer in enumerate(view.sample.answers[:MOST_ROWS])
    ]
    caption = "Answers, the largest write in each read, and the sum of the weights of all writes"
    if len(view.sample.answers) > MOST_ROWS:
        caption += f" (the first {MOST_ROWS} of {len(view.sample.answers):,})"
    header = ["step", "asked", "right answer", "answered", "", "mostly from", "all writes"]
    header += [rival["name"]] if rival else []
    return Table(caption, header, rows, text=True)


def _gate_finding(view: View) -> str:
    gate, tokens = view.gates[:, view.head], view.sample.tokens
    strongest = int(gate.argmax())
    return (
        f"The gate of head {view.head} is above one half at {int((gate > 0.5).sum()):,} of "
        f"{len(gate):,} steps, and largest at step {strongest} ({tokens[strongest]}, "
        f"gate {gate[strongest]:.2f})."
    )


def _most_written(view: View) -> str:
    cells = view.occupancy.most_written(view.head)
    if not cells:
        return f"Head {view.head} writes to no cell."
    named = ", ".join(f"{cell} ({writes:,})" for cell, writes in cells)
    return f"Cells most written by head {view.head} (writes): {named}. --cell shows one over time."


def _unit(view: View, unit: Unit) -> list[Picture | Code]:
    drawn = Picture(
        memory_plots.cell_over_time(
            unit.gate, unit.activation, view.sample.tokens, f"Cell {unit.cell}, head {view.head}"
        ),
        "The cell's write gate at each step, above its activation, channel by channel.",
        _unit_finding(unit),
    )
    state = np.array2string(unit.state, precision=4, max_line_width=76, threshold=unit.state.size)
    return [drawn, Code(state, summary="The cell's contents after the last step")]


def _unit_finding(unit: Unit) -> str:
    written = np.flatnonzero(unit.gate > 0)
    if not len(written):
        return "No step writes to this cell, so its contents do not change."
    largest = float(np.abs(unit.state).max())
    return (
        f"{len(written):,} of {len(unit.gate):,} steps write to this cell, most at step "
        f"{int(unit.gate.argmax())} with gate {unit.gate.max():.2f}; its contents end within "
        f"±{largest:.3f}."
    )
